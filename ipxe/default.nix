# nixpkgs' iPXE with what farmgate's media need, and nothing else than the two programs on them.
# With a CA's certificate it trusts that CA alone, and no setting can override that; without, `farmgate
# iso base` gives it another root.
{
  lib,
  ipxe,
  caCertificate ? null,
}:

ipxe.overrideAttrs (old: {
  pname = "farmgate-ipxe";

  # iPXE reads config/local/*.h after its own settings.
  postPatch = (old.postPatch or "") + ''
    install -m 644 -t src/config/local ${./config/general.h} ${./config/crypto.h}
  '';

  makeFlags =
    (old.makeFlags or [ ])
    ++ lib.optional (caCertificate != null) "TRUST=${
      # A name without characters that make reads as syntax.
      builtins.path {
        path = caCertificate;
        name = "ca.crt";
      }
    }";

  buildFlags = [
    "bin/ipxe.lkrn"
    "bin-x86_64-efi/ipxe.efi"
  ];
  installPhase = ''
    runHook preInstall
    install -m 644 -D -t $out ${lib.concatStringsSep " " [
      "bin/ipxe.lkrn"
      "bin-x86_64-efi/ipxe.efi"
    ]}
    runHook postInstall
  '';

  meta = old.meta // {
    description = "iPXE for farmgate's boot media";
    platforms = [ "x86_64-linux" ];
  };
})
