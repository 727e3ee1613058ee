# Mistakes in a boot host's configuration, and the words that the operator has to be told. Each is made in
# the example, which is in order without it.
{
  lib,
  runCommand,
  boot,
}:

let
  mistakes = {
    "services.farmgate.credentials.\"server.key\" is in the Nix store" = {
      credentials."server.key" = "${builtins.toFile "server.key" "not a secret"}";
    };
    "services.farmgate.credentials.\"server.key\" is no absolute path" = {
      credentials."server.key" = "server.key";
    };
    "services.farmgate.settings.url is https://boot2.example.org, which is not at services.farmgate.domain" =
      {
        settings.url = "https://boot2.example.org";
      };
    "services.farmgate.nginx.publicDomain is services.farmgate.domain" = {
      nginx.publicDomain = lib.mkForce "boot.example.org";
    };
    "services.farmgate.nginx.publicDomain needs a certificate" = {
      nginx.acme.enable = false;
    };
    "services.farmgate.nginx.publicKey is in the Nix store" = {
      nginx.publicCertificate = "/run/keys/chain.pem";
      nginx.publicKey = "${builtins.toFile "public.key" "not a secret"}";
    };
    "services.farmgate.settings.listen.tls is for a boot host without nginx" = {
      settings.listen.tls = "0.0.0.0:443";
    };
    "The option definition `services.farmgate.sync' in `<unknown-file>' no longer has any effect" = {
      sync.url = "https://git.example.org/farm";
    };
    "services.farmgate.gateways.lab-3.boot needs exactly one of" = {
      gateways.lab-3.boot.cmdline = "quiet";
    };
    "services.farmgate.gateways.lab-3.boot.system cannot be netbooted" = {
      gateways.lab-3.boot.system = boot;
    };
  };

  said =
    mistake:
    map (assertion: assertion.message) (
      lib.filter (assertion: !assertion.assertion)
        (boot.extendModules { modules = [ { services.farmgate = mistake; } ]; }).config.assertions
    );
  wrong = lib.filterAttrs (
    words: mistake: !lib.any (message: lib.hasPrefix words message) (said mistake)
  ) mistakes;

  # A name of before, which still counts.
  renamed =
    (boot.extendModules { modules = [ { services.farmgate.buckets.provider = "b2"; } ]; })
    .config.services.farmgate.settings.buckets;

  # What the types refuse, the module system explains with the option's name.
  refused =
    services:
    !(builtins.tryEval
      (boot.extendModules { modules = [ { inherit services; } ]; }).config.system.build.toplevel.drvPath
    ).success;
in
assert lib.assertMsg (said { } == [ ]) "the example itself is refused: ${toString (said { })}";
assert lib.assertMsg (
  wrong == { }
) "no such word: ${lib.concatStringsSep "; " (lib.attrNames wrong)}";
assert renamed == { provider = "b2"; };
assert refused { farmgate.domain = lib.mkForce "boot example org"; };
assert refused { farmgate.gateways.lab-1.certificate = lib.mkForce ./no-such-file.crt; };
assert refused { farmgate.gateways.Lab_3 = { }; };
assert refused { farmgate.settings.assessment.tries = "three"; };
assert refused { farmgate.settings.buckets.provider = "gcs"; };
assert refused { farmgate.nginx.legacyListen = 8443; };
runCommand "refuses-bad-input" { } "touch $out"
