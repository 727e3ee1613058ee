//! References, and the words about a text that is none.

use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{text:?} was refused: {error}"))
}

fn refused(text: &str) -> String {
    text.parse::<Reference>().expect_err(text).to_string()
}

#[test]
fn an_image_of_a_registry_has_a_name_on_the_boot_host() {
    for (text, repository, tag) in [
        ("registry.example.org/farm/gateway:v12", "registry.example.org/farm/gateway", "v12"),
        ("Registry.Example.org:5000/gateway", "registry.example.org_5000/gateway", "latest"),
        ("localhost/a__b/c--d.e:V1_2", "localhost/a__b/c--d.e", "V1_2"),
        ("localhost:1/a", "localhost_1/a", "latest"),
        ("127.0.0.1:5000/a", "127.0.0.1_5000/a", "latest"),
        ("docker.io/library/debian:13", "docker.io/library/debian", "13"),
        ("oci:Images/gate_way", "oci/images/gate-way", "latest"),
        ("oci:image:v12", "oci/image", "v12"),
        ("docker-archive:Gateway v1.tar", "docker-archive/gateway-v1-tar", "latest"),
        ("docker-archive:a.tar:farm/gateway:v1", "docker-archive/a-tar", "v1"),
    ] {
        let reference = parse(text);
        assert_eq!((reference.repository().as_str(), reference.tag().as_str()), (repository, tag));
        assert_eq!(reference.to_string(), text);
        assert_eq!(reference.digest(), None);
    }
    assert_eq!(parse("oci:image/").to_string(), "oci:image");
}

#[test]
fn a_digest_stands_after_the_name_or_the_tag() {
    for tag in ["", ":v12"] {
        let text = format!("registry.example.org/gateway{tag}@{DIGEST}");
        let reference = parse(&text);
        assert_eq!(reference.digest().unwrap().to_string(), DIGEST);
        assert_eq!(reference.registry(), Some("registry.example.org"));
        assert_eq!(reference.to_string(), text);
    }
}

#[test]
fn a_name_of_docker_hub_is_refused_with_the_full_one() {
    for (short, full) in [
        ("debian", "docker.io/library/debian"),
        ("debian:13", "docker.io/library/debian:13"),
        ("user/image:v1", "docker.io/user/image:v1"),
    ] {
        assert!(refused(short).contains(&format!("write \"{full}\" if")), "{}", refused(short));
        parse(full);
    }
    // Nothing is made up for what would be wrong there, too.
    for bad in ["Debian", "a/B", "user/image:"] {
        assert!(refused(bad).contains("does not name its registry, such as"), "{}", refused(bad));
    }
}

#[test]
fn what_is_wrong_is_named() {
    let long = "a".repeat(300);
    for (text, part) in [
        (String::new(), "is needed"),
        ("a".repeat(2000), "at most 1024"),
        ("-a.example.org/gateway".into(), "name of a registry"),
        ("a..example.org/gateway".into(), "name of a registry"),
        ("[::1]:5000/gateway".into(), "name of a registry"),
        ("example.org:70000/gateway".into(), "name of a registry"),
        ("example.org:0/gateway".into(), "name of a registry"),
        ("example.org:+5/gateway".into(), "name of a registry"),
        ("user@example.org/gateway".into(), "not a digest"),
        ("example.org/".into(), "path of a repository"),
        ("example.org/farm//gateway".into(), "path of a repository"),
        ("example.org/../gateway".into(), "path of a repository"),
        ("example.org/Gateway".into(), "path of a repository"),
        ("example.org/a___b".into(), "path of a repository"),
        ("example.org/a?b".into(), "path of a repository"),
        (format!("example.org/{long}"), "at most 255"),
        ("example.org/gateway:".into(), "not a tag"),
        ("example.org/gateway:.v1".into(), "not a tag"),
        (format!("example.org/gateway:{}", "v".repeat(129)), "not a tag"),
        ("example.org/gateway@sha256:12".into(), "not a digest"),
        (format!("example.org/gateway@{}", DIGEST.to_uppercase()), "not a digest"),
        (format!("example.org/gateway@{}", DIGEST.replace("256", "512")), "not a digest"),
        ("docker://example.org/gateway".into(), "no kind of source"),
        ("https://example.org/gateway".into(), "no kind of source"),
        ("dir:image".into(), "no kind of source"),
        ("oci:".into(), "path within the folder"),
        ("oci:/srv/image".into(), "path within the folder"),
        ("oci:../image".into(), "path within the folder"),
        ("oci:a/./b".into(), "path within the folder"),
        ("oci:image:v 1".into(), "not a tag"),
        ("docker-archive:a//b".into(), "path within the folder"),
        ("docker-archive:a.tar:farm/Gateway".into(), "path of a repository"),
    ] {
        let error = refused(&text);
        assert!(error.contains(part), "{text:?}: {error}");
    }
}

fn is_repository(name: &str) -> bool {
    name.split('/').all(is_path_part)
}

fn references() -> impl Strategy<Value = String> {
    let host = "([a-zA-Z0-9]{1,5}(-[a-z0-9]{1,3})?\\.){1,3}[a-z]{2,3}(:[1-9][0-9]{0,3})?";
    let path = "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}";
    let registry = format!(
        "{host}/{path}(/{path}){{0,2}}(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{{0,5}})?(@sha256:[0-9a-f]{{64}})?"
    );
    let file = "[a-zA-Z0-9_ -][a-zA-Z0-9_. -]{0,5}";
    let layout = format!("oci:{file}(/{file}){{0,2}}(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{{0,5}})?");
    let archive = format!("docker-archive:{file}(/{file}){{0,2}}(:{path}(:[a-z0-9]{{1,3}})?)?");
    let pattern = |pattern: &str| proptest::string::string_regex(pattern).unwrap();
    prop_oneof![pattern(&registry), pattern(&layout), pattern(&archive)]
}

#[test]
fn only_what_a_digest_calls_itself_is_read() {
    let digest = Digest::of(b"");
    assert_eq!(digest.to_string(), DIGEST);
    let hex = &DIGEST["sha256:".len()..];
    assert_eq!((digest.hex(), Digest::from_hex(hex)), (hex.to_owned(), Some(digest)));
    for bad in ["", &hex[1..], &hex.to_uppercase(), "lost+found", "../../etc/passwd"] {
        assert_eq!(Digest::from_hex(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn whatever_is_a_reference_is_shown_as_it_was_written(text in references()) {
        let reference = parse(&text);
        prop_assert_eq!(reference.to_string(), text.as_str());
        prop_assert!(is_repository(&reference.repository()), "{}", reference.repository());
        prop_assert!(ensure_tag(&reference.tag()).is_ok());
    }

    /// Whatever is accepted makes a name that an address can hold, and no path leads out.
    #[test]
    fn no_text_gets_past_the_grammar(
        text in prop_oneof![any::<String>(), "(oci:|docker-archive:|a\\.b/|a:1/)?[a-zA-Z0-9:/@._\\-\\[\\] ]{0,20}"],
    ) {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(parse(&reference.to_string()), reference.clone());
            prop_assert!(is_repository(&reference.repository()), "{}", reference.repository());
            if let Reference::Layout(local) | Reference::Archive(local) = &reference {
                prop_assert!(!local.path.starts_with('/'));
                prop_assert!(local.path.split('/').all(|part| !part.is_empty() && part != ".."));
            }
        }
    }

    #[test]
    fn two_registries_never_share_a_name(
        a in "[a-z]{1,2}(\\.[a-z]{1,2})?(:[1-9]{1,2})?/[a-z]{1,2}",
        b in "[a-z]{1,2}(\\.[a-z]{1,2})?(:[1-9]{1,2})?/[a-z]{1,2}",
    ) {
        if let (Ok(first), Ok(second)) = (a.parse::<Reference>(), b.parse::<Reference>()) {
            prop_assert_eq!(a == b, first.repository() == second.repository());
        }
    }
}
