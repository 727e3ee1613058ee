# What a gateway boots, as the folder that `farmgate publish` wants: files, since links out of it would not be
# followed, and a script that is made here unless there is one.
{
  lib,
  pkgs,
  farmgate,
}:

name: boot:

let
  inherit (boot.system.config) system;
  kernel =
    if boot.system == null then
      boot.kernel
    else
      "${system.build.kernel}/${system.boot.loader.kernelFile}";
  initrd = if boot.system == null then boot.initrd else "${system.build.netbootRamdisk}/initrd";

  files =
    boot.files
    // lib.optionalAttrs (kernel != null) { vmlinuz = kernel; }
    // lib.optionalAttrs (initrd != null) { "initrd.img" = initrd; };

  # A kernel that stops starts the machine again, or nobody counts its tries. So does NixOS's stage 1, which
  # would wait for somebody at the keyboard.
  cmdline =
    lib.optional (initrd != null) "initrd=initrd.img"
    ++ [
      "panic=30"
      "farmgate.ack=\${ack_url}"
    ]
    ++ lib.optionals (boot.system != null) (
      [
        "init=${system.build.toplevel}/init"
        "boot.panic_on_fail"
      ]
      ++ boot.system.config.boot.kernelParams
    )
    ++ lib.optional (boot.cmdline != "") boot.cmdline;

  script = ''
    #!ipxe
    kernel --timeout 30000 vmlinuz ${toString cmdline} || goto failed
    ${lib.optionalString (initrd != null) "initrd --timeout 30000 initrd.img || goto failed"}
    isset ''${secrets_url} || goto boot
    initrd --timeout 30000 ''${secrets_url} /secrets.env mode=600 || goto failed
    :boot
    boot || goto failed

    :failed
    echo The system of ''${gateway_name} could not be loaded
    # farmgate: allow FG023 the medium begins its next round
    exit 1
  '';
in
pkgs.runCommand "farmgate-${name}"
  { script = pkgs.writeText "boot.ipxe" (if boot.script == null then script else boot.script); }
  ''
    mkdir $out
    cp $script $out/boot.ipxe
    ${lib.concatStrings (
      lib.mapAttrsToList (to: from: ''
        install -D -m 644 ${lib.escapeShellArg "${from}"} $out/${lib.escapeShellArg to}
      '') files
    )}
    ${lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
      ${lib.getExe farmgate} check $out || {
        echo "services.farmgate.gateways.${name}.boot would strand the gateway, see above" >&2
        exit 1
      }
    ''}
  ''
