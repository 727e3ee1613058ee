# nixpkgs' iPXE with what farmgate's media need, and nothing else than the two programs on them.
# With a CA's certificate it trusts that CA alone, and no setting can override that; without, `farmgate
# iso base` gives it another root.
{
  lib,
  ipxe,
  caCertificate ? null,
}:

let
  binaries = [
    "bin/ipxe.lkrn"
    "bin-x86_64-efi/ipxe.efi"
  ];
in
ipxe.overrideAttrs (old: {
  pname = "farmgate-ipxe";

  # iPXE reads config/local/*.h after its own settings.
  postPatch = (old.postPatch or "") + ''
    # The folder, since a file's own store path has a hash before its name.
    install -m 644 -t src/config/local ${./config}/*.h
  '';

  makeFlags =
    (old.makeFlags or [ ])
    ++
      lib.optional (caCertificate != null)
        "TRUST=${
          # A name without characters that make reads as syntax.
          builtins.path {
            path = caCertificate;
            name = "ca.crt";
          }
        }";

  buildFlags = binaries;
  installPhase = ''
    runHook preInstall
    # What config/general.h turns on has to be in both, or iPXE never read it. The one for BIOS is packed,
    # and this is what was packed.
    for built in bin/ipxe.lkrn.tmp bin-x86_64-efi/ipxe.efi; do
      grep -q "Could not get time and date" "$built" || {
        echo "$built has no command ntp: iPXE was built without farmgate's config/general.h" >&2
        exit 1
      }
    done
    install -m 644 -D -t $out ${toString binaries}
    runHook postInstall
  '';

  meta = old.meta // {
    description = "iPXE for farmgate's boot media";
    platforms = [ "x86_64-linux" ];
  };
})
