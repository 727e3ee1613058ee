# From an attribute set of farms to their packages: an image `iso-NAME` for each, and `seal`.
{
  lib,
  runCommand,
  writeShellApplication,
  farmgate,
  mkIso,
}:

farms:

let
  inherit (lib) mkOption types;
  file = import ../nixos/file-type.nix { inherit lib; };

  # The module system reports which key of which farm is wrong, and where it is.
  checked =
    (lib.evalModules {
      modules = [
        {
          options.farms = mkOption {
            type = types.attrsOf farm;
            description = "Farms by name.";
          };
        }
        (lib.setDefaultModuleLocation "the farms" { inherit farms; })
      ];
    }).config.farms;

  farm = types.submodule (
    { name, config, ... }:
    {
      options = {
        name = mkOption {
          type = types.strMatching "[a-z0-9]([a-z0-9-]*[a-z0-9])?";
          default = name;
          readOnly = true;
          description = "The farm's name.";
        };
        domain = mkOption {
          type = types.strMatching "[A-Za-z0-9.-]+";
          example = "boot.example.org";
          description = "Name of the boot host, as in its certificate.";
        };
        url = mkOption {
          type = types.strMatching "https://.+";
          default = "https://${config.domain}";
          description = "Where gateways ask, if not on port 443 of the domain.";
        };
        caCertificate = mkOption {
          type = types.nullOr file;
          default = null;
          example = "./farm1/ca.crt";
          description = ''
            Certificate of the farm's CA, PEM: `pki/ca.crt` of the boot host's state. Without it, which is so before
            the boot host's first start, there is no image yet.
          '';
        };
        gateways = mkOption {
          type = types.attrsOf file;
          default = { };
          example = {
            lab-1 = "./farm1/lab-1.crt";
          };
          description = "Certificates of the gateways, PEM. Never their keys.";
        };
        ntp = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "pool.ntp.org";
          description = "Time server to ask before the first connection.";
        };
        contact = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "farm team, +49 30 1234";
          description = "Whom the screen names when nothing boots; at most 55 characters.";
        };
      };
    }
  );

  # A farm without a CA is an error only when its image is built. The other farms still have theirs.
  hasCa = farm: farm.caCertificate != null;
  refuse = name: ''
    echo "farms.${name}.caCertificate is not set. Deploy the boot host, which makes its CA, copy its" >&2
    echo "/var/lib/farmgate/pki/ca.crt into this flake, \`git add\` it, and name it there." >&2
    exit 1
  '';
  isos = lib.mapAttrs (
    name: farm: if hasCa farm then mkIso farm else runCommand "${name}.iso" { } (refuse name)
  ) checked;

  seal = writeShellApplication {
    name = "seal";
    runtimeInputs = [ farmgate ];
    meta.description = "Writes a gateway's identity into its farm's boot image";
    # If all farms are refused, the code after this would be dead, and shellcheck refuses dead code.
    text =
      if lib.any hasCa (lib.attrValues checked) then
        sealOne
      else if checked == { } then
        ''
          echo "seal: there is no farm: name one in the attribute set that mkFarms gets" >&2
          exit 1
        ''
      else
        refuse (lib.head (lib.attrNames checked));
  };

  sealOne = ''
    usage() {
      echo "usage: seal FARM KEY [-o FILE]" >&2
      exit 2
    }
    [ $# -ge 2 ] || usage
    farm=$1 key=$2
    shift 2
    case $farm in
    ${lib.concatStrings (
      lib.mapAttrsToList (name: iso: ''
        ${name})
        ${
          if hasCa checked.${name} then
            ''
              image=${iso}
              certificates=(${
                lib.concatMapStringsSep " " (file: "--cert ${file}") (lib.attrValues iso.certificates)
              })
            ''
          else
            refuse name
        }
          ;;
      '') isos
    )}
    *)
      echo "seal: no farm is named $farm; there are: ${lib.concatStringsSep ", " (lib.attrNames isos)}" >&2
      exit 1
      ;;
    esac
    if [ ''${#certificates[@]} = 0 ]; then
      echo "seal: farms.$farm.gateways is empty: name the certificate of this key there" >&2
      exit 1
    fi
    case $key in
    /nix/store/*)
      echo "seal: $key is in the Nix store, which every user can read: make another key" >&2
      exit 1
      ;;
    esac
    # In the current directory, named after the key: lab-1.key becomes lab-1.iso.
    if [ $# = 0 ]; then
      output=$(basename "$key")
      set -- -o "''${output%.*}.iso"
    fi
    # Takes the certificate that belongs to the key. Image and key meet only on this machine.
    exec farmgate iso seal "$image" "''${certificates[@]}" --key "$key" "$@"
  '';
in
{
  inherit seal;
}
// lib.mapAttrs' (name: lib.nameValuePair "iso-${name}") isos
