# The options of services.farmgate.gateways.
{ lib, ... }:

let
  inherit (lib) literalExpression mkOption types;
  file = import ./file-type.nix { inherit lib; };

  boot = types.submodule {
    options = {
      system = mkOption {
        type = types.nullOr types.raw;
        default = null;
        example = literalExpression "self.nixosConfigurations.lab-1";
        description = "A NixOS system to netboot, one that imports `nixosModules.gateway`.";
      };
      kernel = mkOption {
        type = types.nullOr file;
        default = null;
        example = literalExpression ''"''${pkgs.linux}/bzImage"'';
        description = "Kernel of another system; the script has it as `vmlinuz`.";
      };
      initrd = mkOption {
        type = types.nullOr file;
        default = null;
        description = "Its initramfs; the script has it as `initrd.img`.";
      };
      cmdline = mkOption {
        type = types.separatedString " ";
        default = "";
        example = "console=tty0 console=ttyS0 quiet";
        description = "Added to the kernel command line. It can hold iPXE's settings, such as `\${gateway_name}`.";
      };
      script = mkOption {
        type = types.nullOr types.lines;
        default = null;
        description = ''
          The whole boot script. Without it, the script loads kernel and initramfs, passes the address for
          the acknowledgement, and puts secrets into the initramfs as `/secrets.env` if there are any.
        '';
      };
      files = mkOption {
        type = types.attrsOf file;
        default = { };
        example = literalExpression ''{ "firmware.cpio" = ./firmware.cpio; }'';
        description = "More files of the generation, by the names that a script gives them.";
      };
    };
  };
in
{
  options.services.farmgate.gateways = mkOption {
    default = { };
    example = literalExpression ''
      {
        lab-1 = {
          certificate = ./lab-1.crt;
          boot.system = self.nixosConfigurations.lab-1;
        };
      }
    '';
    description = ''
      Gateways that this configuration registers and publishes for. Others can still be added with
      `farmgate gateway add`. A gateway that is removed here stays registered until `farmgate gateway remove`.
    '';
    type = types.attrsOf (
      types.submodule (
        { name, ... }:
        {
          options = {
            name = mkOption {
              type = types.strMatching "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
              default = name;
              readOnly = true;
              description = "The gateway's name: lower-case letters, digits and inner hyphens.";
            };
            certificate = mkOption {
              type = types.nullOr file;
              default = null;
              example = literalExpression "./lab-1.crt";
              description = ''
                The gateway's certificate, PEM, issued by the fleet's CA. Without it, the boot host makes key
                and certificate, for `farmgate iso make` there.
              '';
            };
            boot = mkOption {
              type = types.nullOr boot;
              default = null;
              description = "What the gateway boots. Without it, `farmgate publish` on the boot host says that.";
            };
          };
        }
      )
    );
  };
}
