# What the gateways of the tests boot: see scripts/make-initramfs.
{
  lib,
  runCommand,
  python3,
  curl,
  glibc,
  pkgsStatic,
  linuxPackages,
}:

runCommand "farmgate-test-generation"
  {
    nativeBuildInputs = [
      python3
      # Its libraries, which ldd finds, go into the initramfs.
      curl
      (lib.getBin glibc)
    ];
    # The script takes systemd/farmgate-ack from beside itself.
    source = lib.fileset.toSource {
      root = ../..;
      fileset = lib.fileset.unions [
        ../../scripts/make-initramfs
        ../../systemd/farmgate-ack
        ./acknowledge.ipxe
      ];
    };
    FARMGATE_MODULES = "${lib.getOutput "modules" linuxPackages.kernel}/lib/modules";
  }
  ''
    mkdir $out
    cp $source/vm-tests/common/acknowledge.ipxe $out/boot.ipxe
    cp ${linuxPackages.kernel}/bzImage $out/vmlinuz
    python3 $source/scripts/make-initramfs ${pkgsStatic.busybox}/bin/busybox $out/initrd.img
    python3 $source/scripts/make-initramfs --network ${linuxPackages.kernel}/bzImage $out/network.img
  ''
