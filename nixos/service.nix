# The units of the package, and what of them depends on this host.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.farmgate;
  state = "/var/lib/farmgate";

  configFile =
    pkgs.runCommand "farmgate.toml"
      {
        file = (pkgs.formats.toml { }).generate "farmgate.toml" (
          lib.filterAttrsRecursive (_: value: value != null) cfg.settings
        );
      }
      ''
        ${lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
          ${lib.getExe cfg.package} check "$file" >said 2>&1 || {
            cat -n "$file" >&2
            echo "services.farmgate.settings makes this file, which farmgate does not take:" >&2
            cat said >&2
            exit 1
          }
        ''}
        cp "$file" $out
      '';

  # The program as users of this host have it: `farmgate iso make` finds what media are made of.
  program =
    if cfg.ipxe == null then
      cfg.package
    else
      pkgs.symlinkJoin {
        name = "farmgate-with-ipxe";
        paths = [ cfg.package ];
        nativeBuildInputs = [ pkgs.makeWrapper ];
        postBuild = ''
          wrapProgram $out/bin/farmgate \
            --set-default FARMGATE_IPXE ${cfg.ipxe} \
            --set-default FARMGATE_SYSLINUX ${pkgs.syslinux}
        '';
      };

  # What a start can do without. Where such a file is missing, an empty line stands for it, which farmgate
  # takes for a fault of that one gateway, bucket provider or store: all others boot.
  optional = lib.filter (
    name:
    lib.hasPrefix "secrets-" name
    || lib.elem name [
      "bucket-provider"
      "store"
      "sync"
      "sync-key"
      "sync-webhook"
    ]
  ) (lib.attrNames cfg.credentials);

  # https://[2001:db8::1]:8443 → 8443
  port =
    let
      given = builtins.match "https://[^/]*:([0-9]+)/?" cfg.settings.url;
    in
    if given == null then 443 else lib.toInt (lib.head given);

  # What several boot hosts share.
  store = cfg.settings.store.url or "";
  # The git repository that describes the fleet.
  remote = cfg.settings.sync.remote or "";
  # What brings it in, and verifies who signed it: for the service, and for `farmgate sync` and `doctor` by hand.
  syncPrograms = lib.optionals (remote != "") [
    pkgs.gitMinimal
    pkgs.openssh
    pkgs.gnupg
  ];
  asksOthers =
    cfg.settings.buckets.provider != "none"
    || lib.hasPrefix "s3:" store
    || (remote != "" && !lib.hasPrefix "file://" remote);

  hostOf = url: lib.head (builtins.match "https://(\\[[^]]*]|[^:/]*).*" url);
in
{
  config = lib.mkIf cfg.enable {
    services.farmgate = { inherit configFile; };

    assertions = [
      {
        assertion = hostOf cfg.settings.url == cfg.domain;
        message = ''
          services.farmgate.settings.url is ${cfg.settings.url}, which is not at services.farmgate.domain (${cfg.domain}).
          Set the domain alone, or put a second address into services.farmgate.settings.media.fallback-urls.
        '';
      }
    ]
    ++ lib.mapAttrsToList (name: file: {
      assertion = lib.hasPrefix "/" file && !lib.hasPrefix builtins.storeDir file;
      message = ''
        services.farmgate.credentials."${name}" is ${
          if lib.hasPrefix "/" file then "in the Nix store, which every user can read" else "no absolute path"
        }: ${file}
        Name a file on the boot host, as a string: "/run/keys/${name}", from agenix, sops-nix or a copy by hand.
        A secret that has been in the store is no secret any more: make a new one.
      '';
    }) cfg.credentials;

    environment.systemPackages = [ program ] ++ syncPrograms;
    # STATE/farmgate.toml leads here: whoever calls farmgate gets the same settings as the server.
    environment.etc."farmgate/farmgate.toml".source = configFile;

    users.users.farmgate = {
      isSystemUser = true;
      group = "farmgate";
      home = state;
      description = "farmgate boot server";
    };
    users.groups.farmgate = { };

    systemd.packages = [ cfg.package ];
    systemd.tmpfiles.packages = [ cfg.package ];
    # The first request starts it, through its sockets.
    systemd.services.farmgate = {
      # Not required: when a new generation cannot be published, the last one is still served.
      wants = [ "farmgate-provision.service" ];
      after = [ "farmgate-provision.service" ];
      reloadTriggers = [ configFile ];
      # A certificate for another name comes by provisioning, which a restart waits for.
      restartTriggers = [ cfg.domain ];
      # Restarted in place, so that its sockets stay open and take what comes meanwhile.
      stopIfChanged = false;
      path = syncPrograms;
      serviceConfig = {
        LoadCredential = lib.mapAttrsToList (name: file: "${name}:${file}") cfg.credentials;
        # systemd takes no empty one.
        SetCredential = map (name: "${name}:\\n") optional;
      }
      # As systemd/farmgate.service.d/network.conf does; the reasons are there.
      // lib.optionalAttrs asksOthers {
        PrivateNetwork = false;
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
        ];
        IPAddressDeny = "";
      }
      // lib.optionalAttrs (lib.hasPrefix "file://" store) {
        # Gateways boot without it, so it may be missing.
        ReadWritePaths = [ "-${lib.removePrefix "file://" store}" ];
      };
    };

    systemd.sockets = {
      farmgate = lib.mkIf cfg.nginx.enable {
        wantedBy = [ "sockets.target" ];
        socketConfig.SocketGroup = config.services.nginx.group;
      };
      farmgate-tls = lib.mkIf (!cfg.nginx.enable) {
        wantedBy = [ "sockets.target" ];
        # The empty one takes back the unit's own.
        listenStreams = lib.mkIf (port != 443) [
          ""
          (toString port)
        ];
      };
      farmgate-admin.wantedBy = [ "sockets.target" ];
    };

    # Some lines lose the longest packets unsaid (docs/operating.md); farmgate's own TLS needs none of it.
    boot.kernel.sysctl."net.ipv4.tcp_mtu_probing" = lib.mkIf cfg.nginx.enable (lib.mkDefault 1);

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ port ];
  };
}
