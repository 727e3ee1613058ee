# Farms by name: what a boot medium needs to know, and nothing secret. `nix build .#iso-farm1` makes the
# image, `nix run .#seal -- farm1 lab-1.key` writes a gateway's identity into a copy.
{
  farm1 = {
    domain = "boot.example.org";
    caCertificate = ./farm1/ca.crt;
    gateways = {
      lab-1 = ./farm1/lab-1.crt;
      lab-2 = ./farm1/lab-2.crt;
    };
  };
}
