# Farms by name: what a boot medium needs to know, and nothing secret. `nix build .#iso-farm1` makes the
# image, `nix run .#seal -- farm1 lab-1.key` writes a gateway's identity into a copy.
{
  farm1 = {
    # 1. The name that leads to your boot host. This is all that its first deployment wants.
    domain = "boot.example.org";
    # 2. Then the certificate of the CA that the boot host made: /var/lib/farmgate/pki/ca.crt.
    # caCertificate = ./farm1/ca.crt;
    # 3. And of each gateway, after `farmgate gateway add lab-1`: /var/lib/farmgate/gateways/lab-1/*.crt.
    # gateways.lab-1 = ./farm1/lab-1.crt;
  };
}
