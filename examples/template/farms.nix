# Farms by name: the settings of boot media. Nothing here is secret. `nix build .#iso-farm1` makes the
# image, and `nix run .#seal -- farm1 lab-1.key` writes a gateway's identity into a copy.
{
  farm1 = {
    # 1. The name of your boot host. The first deployment needs nothing else.
    domain = "boot.example.org";
    # 2. The certificate of the CA that the boot host made: /var/lib/farmgate/pki/ca.crt.
    # caCertificate = ./farm1/ca.crt;
    # 3. The certificate of each gateway, after `farmgate gateway add lab-1`: /var/lib/farmgate/gateways/lab-1/*.crt.
    # gateways.lab-1 = ./farm1/lab-1.crt;
  };
}
