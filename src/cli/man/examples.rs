//! Examples for the manual pages. A test has each of them parsed.

/// The words after `farmgate`, and their effect.
pub(super) const EXAMPLES: &[(&str, &str)] = &[
    ("init --url https://boot.example.org", "A boot host with its own TLS"),
    ("init --url https://boot.example.org --nginx", "A boot host behind nginx"),
    ("gateway add lab-1", "A gateway and its certificate"),
    ("gateway add lab-1 --csr lab-1.csr", "The same for a key that stays where it is"),
    ("gateway list", "All gateways, and until when their certificates are valid"),
    ("gateway show lab-1", "Every certificate of a gateway"),
    ("gateway renew lab-1", "A new certificate; generations stay"),
    ("gateway revoke lab-1", "A stick was stolen: refuses it from the next request on"),
    ("gateway remove lab-1", "Forgets a gateway for good"),
    ("gateway set lab-1 --assessment none", "For a system that never acknowledges"),
    ("iso make lab-1", "The image lab-1.iso, to be written to a stick or a CD"),
    ("iso make lab-1 lab-2 --out-dir images", "Images of several gateways"),
    ("iso base -o base.iso", "An image without an identity"),
    ("iso seal base.iso --gateway lab-1 -o lab-1.iso", "Writes an identity into a copy of it"),
    ("iso verify lab-1.iso", "What is on an image; never the key"),
    ("check ./lab-1", "What would strand a gateway that boots this folder"),
    ("check /etc/farmgate/farmgate.toml", "Whether a configuration can be read"),
    ("render ./lab-1", "Shows what the gateway.toml of a folder makes, before it is published"),
    ("publish lab-1 ./lab-1", "Publishes a folder as the next generation of lab-1"),
    (
        "publish --canary lab-1,lab-2 --then lab-3 --then all ./system",
        "The same for many gateways, in waves: each when the one before has acknowledged",
    ),
    ("publish --if-changed lab-1 ./lab-1", "For a script that runs again and again"),
    ("rollout list", "Rollouts, and how far they are"),
    ("rollout show --watch", "Every change of the newest one, until it ends"),
    ("plan ./farm", "What applying a fleet folder would change"),
    (
        "plan ./farm --state-json state.json --detailed-exitcode",
        "The same in a CI job, away from the boot host",
    ),
    ("apply ./farm -m kernel", "Does it, with a message for the log"),
    ("plan ./farm --remove-absent", "Also who would be removed: the folder does not describe them"),
    ("apply ./farm --remove-absent --yes", "Removes them, in a script"),
    ("apply ./farm --follow", "Shows the boots until every gateway has acknowledged"),
    ("state export", "What plan --state-json takes"),
    ("state backup farm.tar", "The whole state without keys, while the server runs"),
    (
        "state backup farm.age --with-keys --recipients-file backup.pub",
        "With all keys, encrypted: for a timer, since nobody is asked",
    ),
    (
        "state backup farm.age --with-keys --passphrase",
        "The same with a passphrase, which is asked for",
    ),
    ("state restore farm.age --identity backup.key", "Makes the state from it"),
    ("state move /srv/farmgate", "To another directory or disk, while no server runs"),
    ("gc --keep 5 --dry-run", "What gc would remove if five generations of each gateway stay"),
    ("gc --keep 5", "Removes it"),
    ("import valve-infra /srv/ipxe --dry-run", "What would be taken over from ipxe-boot-server"),
    ("sync", "Brings in the git repository now"),
    ("log lab-1", "Who did what with a gateway, and why"),
    ("try lab-1", "Boots its image in QEMU, and says how far it comes"),
    ("iso flash lab-1.iso /dev/sdb", "Writes an image to a stick, and reads it back"),
    ("gateway set lab-1 --group rack", "Puts a gateway into a group, which commands take as @rack"),
    ("generations lab-1", "What the next boot gets, and why"),
    ("rollback lab-1", "Back to the generation before"),
    ("rollback lab-1 7", "Back to generation 7"),
    ("pin lab-1 7", "Generation 7, whatever its boots show"),
    ("release lab-1", "Lets assessment decide again"),
    ("status", "All gateways, one per line"),
    ("status lab-1", "The last boots of one gateway, step by step"),
    ("bucket list", "The state of the gateways' buckets"),
    ("bucket rotate lab-1", "A new key with the next boot; the old one until then"),
    ("bucket adopt lab-1 old-bucket", "Gives a gateway a bucket that exists"),
    ("bucket sync", "Makes buckets and keys now"),
    ("pki renew --san boot-2.example.org", "A new server certificate, with one more name"),
    ("store sync", "Exchanges everything with the shared store now"),
    ("store new-host ./host-2 --url https://boot-2.example.org", "The state of a second boot host"),
    ("serve", "Runs the boot server with the addresses of the configuration"),
    ("serve --check", "Whether it would start"),
    ("serve --tls 127.0.0.1:8443", "For a try, without a configuration of addresses"),
    ("doctor", "What would stop a boot, and what to do"),
    ("--json doctor", "The same for a program"),
    ("nginx-config", "For /etc/nginx/conf.d/farmgate.conf"),
    ("completions bash", "For bash-completion"),
    ("man --out-dir man", "These pages"),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_example_is_a_command() {
        for (words, what) in EXAMPLES {
            let words = std::iter::once("farmgate").chain(words.split_whitespace());
            let parsed = Cli::try_parse_from(words.clone());
            let error = parsed.err().map(|error| error.to_string());
            assert_eq!(error, None, "{}", words.collect::<Vec<_>>().join(" "));
            assert!(!what.ends_with('.'));
        }
    }
}
