# One farm's boot image without an identity. It has the same bytes for every gateway and contains nothing secret.
{
  lib,
  runCommand,
  openssl,
  syslinux,
  farmgate,
  farmgate-ipxe,
}:

{
  name,
  domain,
  caCertificate,
  url ? "https://${domain}",
  ntp ? null,
  contact ? null,
  gateways ? { },
}:

let
  # Copy the files to the store under names that no tool can misread.
  ca = builtins.path {
    path = caCertificate;
    name = "ca.crt";
  };
  certificates = lib.mapAttrs (
    gateway: certificate:
    builtins.path {
      path = certificate;
      name = "${gateway}.crt";
    }
  ) gateways;
in
runCommand "${name}.iso"
  {
    nativeBuildInputs = [
      farmgate
      openssl
    ];
    passthru = { inherit certificates; };
    meta.description = "Boot image of the farm ${name}, to be sealed for each gateway";
  }
  ''
    issued() {
      # Ignore validity: it depends on the day, and a build must not.
      openssl verify -no_check_time -CAfile ${ca} "$2" >why 2>&1 || {
        echo "farms.${name}.gateways.$1 was not issued by farms.${name}.caCertificate:" >&2
        cat why >&2
        exit 1
      }
    }
    ${lib.concatStrings (
      lib.mapAttrsToList (gateway: certificate: "issued ${gateway} ${certificate}\n") certificates
    )}
    farmgate iso base --ca ${ca} --url ${lib.escapeShellArg url} \
      --ntp ${lib.escapeShellArg (if ntp == null then "none" else ntp)} \
      ${lib.optionalString (contact != null) "--contact ${lib.escapeShellArg contact}"} \
      --ipxe ${farmgate-ipxe.override { caCertificate = ca; }} --syslinux ${syslinux} -o $out
  ''
