# `nix run .#demo`: scripts/demo, with nixpkgs' programs in the place of what it fetches on Debian.
{
  lib,
  writeShellApplication,
  writeShellScript,
  runCommand,
  python3,
  curl,
  glibc,
  qemu,
  OVMF,
  pkgsStatic,
  linuxPackages,
  syslinux,
  farmgate,
  farmgate-ipxe,
}:

let
  tools = {
    FARMGATE_BIN = lib.getExe farmgate;
    FARMGATE_IPXE = farmgate-ipxe;
    FARMGATE_SYSLINUX = syslinux;
    FARMGATE_KERNEL = "${linuxPackages.kernel}/bzImage";
    FARMGATE_MODULES = "${lib.getOutput "modules" linuxPackages.kernel}/lib/modules";
    FARMGATE_BUSYBOX = "${pkgsStatic.busybox}/bin/busybox";
    FARMGATE_OVMF = runCommand "ovmf" { } ''
      mkdir $out
      ln -s ${OVMF.firmware} $out/OVMF_CODE.fd
      ln -s ${OVMF.variables} $out/OVMF_VARS.fd
    '';
  };

  tree = runCommand "farmgate-demo" { } ''
    cp -r ${
      lib.fileset.toSource {
        root = ../.;
        fileset = lib.fileset.unions [
          ../scripts/demo
          ../scripts/make-initramfs
          ../systemd/farmgate-ack
          ./common
        ];
      }
    } $out
    chmod -R u+w $out
    cp ${
      writeShellScript "install-packages" (
        lib.concatStrings (lib.mapAttrsToList (name: value: "echo export ${name}=${value}\n") tools)
      )
    } $out/scripts/install-packages
  '';
in
writeShellApplication {
  name = "demo";
  meta.description = "Boots a gateway in QEMU before your eyes";
  runtimeInputs = [
    python3
    curl
    # ldd, which finds curl's libraries.
    (lib.getBin glibc)
    qemu
  ];
  text = ''
    # It writes beside itself: state, image and logs, which stay until the next time.
    folder=''${XDG_CACHE_HOME:-$HOME/.cache}/farmgate-demo
    if [ -d "$folder" ] && [ ! -e "$folder/scripts/demo" ]; then
      echo "demo: $folder is in the way and was not made by the demo: move it away" >&2
      exit 1
    fi
    rm -rf "$folder"
    cp -r --no-preserve=ownership ${tree} "$folder"
    chmod -R u+w "$folder"
    echo "==> everything is made in $folder"
    exec python3 "$folder/scripts/demo" "$@"
  '';
}
