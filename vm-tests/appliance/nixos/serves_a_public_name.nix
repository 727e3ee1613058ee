# A second name with a certificate that did not come by ACME.
{ pkgs, ... }:

let
  # As a public authority's. Keys in the store are for tests.
  public = pkgs.runCommand "public" { nativeBuildInputs = [ pkgs.openssl ]; } ''
    mkdir $out
    cd $out
    request="openssl req -newkey rsa:2048 -nodes"
    $request -x509 -days 3650 -subj /CN=public -keyout ca.key -out ca.crt
    $request -subj /CN=public.farmgate.test -keyout key -out request
    printf 'subjectAltName=DNS:public.farmgate.test' >extensions
    openssl x509 -req -in request -CA ca.crt -CAkey ca.key -days 3650 -CAcreateserial \
      -extfile extensions -out crt
  '';
in
{
  services.farmgate.nginx = {
    publicDomain = "public.farmgate.test";
    publicCertificate = "/var/lib/certificates/crt";
    publicKey = "/var/lib/certificates/key";
  };
  system.activationScripts.certificates = ''
    install -d /var/lib/certificates
    install -m 0644 ${public}/crt ${public}/key /var/lib/certificates
  '';
  environment.etc."farmgate-test/public-ca.crt".source = "${public}/ca.crt";
  networking.hosts."192.168.1.1" = [ "public.farmgate.test" ];
}
