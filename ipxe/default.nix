# nixpkgs' iPXE with the features that farmgate's media need. Builds only the two programs that are on media.
# With a CA's certificate, it trusts only that CA, and no setting can override that. Without one, `farmgate
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
    # Use the folder, because a file's own store path has a hash before its name.
    install -m 644 -t src/config/local ${./config}/*.h
  '';

  makeFlags =
    (old.makeFlags or [ ])
    ++
      lib.optional (caCertificate != null)
        "TRUST=${
          # A name without characters that `make` reads as syntax.
          builtins.path {
            path = caCertificate;
            name = "ca.crt";
          }
        }";

  buildFlags = binaries;
  installPhase = ''
    runHook preInstall
    # Both programs must contain what config/general.h turns on; otherwise iPXE never read it. The program
    # for BIOS is packed, so look at its unpacked form.
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
