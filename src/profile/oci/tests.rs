//! Documents as registries have them, and some that they should not have.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;

fn digest(n: u8) -> String {
    Digest::of_sha256([n; 32]).to_string()
}

fn part(media_type: &str, n: u8) -> Value {
    json!({"mediaType": media_type, "digest": digest(n), "size": 10})
}

fn manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": part(OCI_CONFIG, 1),
        "layers": [part(OCI_LAYER_GZIP, 2), part(OCI_LAYER_ZSTD, 3), part(OCI_LAYER, 2)],
    })
}

fn variant(os: &str, architecture: &str, variant: Option<&str>, n: u8) -> Value {
    let mut found = part(OCI_MANIFEST, n);
    found["platform"] = json!({"os": os, "architecture": architecture, "variant": variant});
    found
}

fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
}

fn parse(value: &Value, content_type: Option<&str>) -> Result<Document, Unsuitable> {
    Document::parse(value.to_string().as_bytes(), content_type)
}

fn with(mut value: Value, key: &str, new: Value) -> Value {
    value[key] = new;
    value
}

#[test]
fn images_of_both_kinds_are_read() {
    let docker = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": part(DOCKER_CONFIG, 1),
        "layers": [
            part(DOCKER_LAYER_GZIP, 2), part(DOCKER_LAYER, 3), part(DOCKER_LAYER_ZSTD, 4),
        ],
    });
    for (value, content_type) in [
        (manifest(), None),
        (manifest(), Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8")),
        // Some registries say nothing of use.
        (manifest(), Some("application/octet-stream")),
        (with(manifest(), "mediaType", Value::Null), None),
        (with(manifest(), "mediaType", Value::Null), Some(OCI_MANIFEST)),
        (docker, Some(DOCKER_MANIFEST)),
    ] {
        let Document::Manifest(found) = parse(&value, content_type).unwrap() else {
            panic!("{value}");
        };
        assert_eq!(found.config.digest.to_string(), digest(1));
    }
    let Ok(Document::Manifest(manifest)) = parse(&manifest(), None) else { panic!() };
    assert_eq!(manifest.parts().len(), 3, "a layer is there twice");
}

/// Publishing once took 500 layers, and configurations of 8 MiB, and gateways 127 and 4 MiB: an
/// image that no gateway could mount became a generation.
#[test]
fn the_bounds_are_those_of_gateways() {
    let layers = |count| with(manifest(), "layers", json!(vec![part(OCI_LAYER, 2); count]));
    assert!(parse(&layers(127), None).is_ok());
    let sized = |media_type: &str, size: u64| with(part(media_type, 1), "size", json!(size));
    let config = |size| with(manifest(), "config", sized(OCI_CONFIG, size));
    assert!(parse(&config(MAX_DOCUMENT), None).is_ok());
    let layer =
        |size| with(manifest(), "layers", json!([part(OCI_LAYER, 2), sized(OCI_LAYER, size)]));
    assert!(parse(&layer(10), None).is_ok(), "the configuration's digest, and its size");
    let two_sizes = json!([part(OCI_LAYER, 2), with(part(OCI_LAYER, 2), "size", json!(11))]);
    for (bad, why) in [
        (layers(128), "128 layers; 127 is the limit"),
        (layers(0), "no layers"),
        (config(MAX_DOCUMENT + 1), "its configuration has 4194305 bytes"),
        (layer(u64::MAX), "a layer has 18446744073709551615 bytes"),
        (layer(11), "two sizes"),
        (with(manifest(), "layers", two_sizes), "two sizes"),
    ] {
        let error = parse(&bad, None).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_first_bytes_tell_how_a_layer_is_packed() {
    for (start, packing) in [
        (&b"\x1f\x8b\x08"[..], Packing::Gzip),
        (b"\x28\xb5\x2f\xfd\x04", Packing::Zstd),
        (b"\x5a\x2a\x4d\x18", Packing::Zstd),
        (b"\x60\x2a\x4d\x18", Packing::None),
        (b"etc/", Packing::None),
        (b"\x1f", Packing::None),
        (b"", Packing::None),
    ] {
        assert_eq!(Packing::of(start), packing, "{start:?}");
        let layers = json!([part(packing.media_type(), 2)]);
        assert!(parse(&with(manifest(), "layers", layers), None).is_ok());
    }
}

#[test]
fn what_is_no_image_for_gateways_is_refused_by_name() {
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let nondistributable = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    for (value, content_type, part) in [
        (json!({"schemaVersion": 1, "fsLayers": []}), None, "schema 1"),
        (manifest(), Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), "schema 1"),
        (with(manifest(), "layers", json!([part(foreign, 2)])), None, "must not be handed on"),
        (
            with(manifest(), "layers", json!([part(nondistributable, 2)])),
            None,
            "must not be handed on",
        ),
        (with(manifest(), "layers", json!([part("text/html", 2)])), None, "unknown format"),
        (
            with(manifest(), "layers", json!([part(&format!("{OCI_LAYER}+encrypted"), 2)])),
            None,
            "unknown format",
        ),
        (with(manifest(), "schemaVersion", json!(3)), None, "schema 3"),
        (with(index(&[]), "config", part(OCI_CONFIG, 1)), None, "at once"),
        (
            with(manifest(), "config", part("application/vnd.cncf.helm.config.v1+json", 1)),
            None,
            "some other artifact",
        ),
        (with(manifest(), "mediaType", json!("text/plain")), None, "no manifest of an image"),
        (manifest(), Some(OCI_INDEX), "at once"),
        (with(manifest(), "manifests", json!([])), None, "at once"),
        (with(manifest(), "config", Value::Null), None, "cannot be read"),
        (json!([]), None, "cannot be read"),
    ] {
        let error = parse(&value, content_type).unwrap_err().to_string();
        assert!(error.contains(part), "{value}: {error}");
    }
    let sha512 = manifest().to_string().replace("sha256:", "sha512:");
    assert!(Document::parse(sha512.as_bytes(), None).is_err());
    let negative = manifest().to_string().replace("10", "-1");
    assert!(Document::parse(negative.as_bytes(), None).is_err());
}

#[test]
fn of_an_index_the_variant_for_gateways_is_taken() {
    let ours = |variants: &[Value]| match parse(&index(variants), Some(OCI_INDEX)) {
        Ok(Document::Index(index)) => index.variant().map(|found| found.digest.to_string()),
        other => panic!("{other:?}"),
    };
    let attestation = variant("unknown", "unknown", None, 9);
    let arm = variant("linux", "arm64", Some("v8"), 1);
    assert_eq!(
        ours(&[
            attestation.clone(),
            arm.clone(),
            variant("windows", "amd64", None, 2),
            variant("linux", "amd64", Some("v3"), 3),
            variant("linux", "amd64", None, 4),
        ]),
        Ok(digest(4))
    );
    let error = ours(&[attestation, variant("linux", "riscv64", None, 1), arm]).unwrap_err();
    assert!(error.to_string().ends_with("there is linux/arm64, linux/riscv64"), "{error}");
    assert!(ours(&[]).unwrap_err().to_string().contains("none that says"));
}

#[test]
fn a_configuration_is_for_the_gateways_architecture_and_all_layers() {
    let Ok(Document::Manifest(manifest)) = parse(&manifest(), None) else { panic!() };
    let config = |os: &str, architecture: &str, layers: u8| {
        let diffs: Vec<_> = (0..layers).map(digest).collect();
        let config = json!({"os": os, "architecture": architecture, "rootfs": {"diff_ids": diffs}});
        ImageConfig::parse(config.to_string().as_bytes(), &manifest).map_err(|e| e.to_string())
    };
    assert!(config("linux", "amd64", 3).is_ok());
    assert!(config("linux", "arm64", 3).unwrap_err().ends_with("but for linux/arm64"));
    assert!(config("windows", "amd64", 3).is_err() && config("", "", 3).is_err());
    assert!(config("linux", "amd64", 2).unwrap_err().contains("lists 2 layers"));
    assert!(ImageConfig::parse(b"{}", &manifest).is_err());
}

#[test]
fn a_configuration_says_what_runs() {
    let Ok(Document::Manifest(manifest)) = parse(&manifest(), None) else { panic!() };
    let config = |run: Value| {
        let diffs = [digest(1), digest(2), digest(3)];
        let config = json!({
            "os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diffs}, "config": run,
        });
        ImageConfig::parse(config.to_string().as_bytes(), &manifest)
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let run = json!({
        "User": "1000:100", "Env": ["A=b"], "Entrypoint": ["/init"], "Cmd": null,
        "WorkingDir": "/srv", "StopSignal": "SIGINT", "Labels": {"a": "b"},
    });
    let expected = ImageConfig {
        user: "1000:100".to_owned(),
        environment: words(&["A=b"]),
        entrypoint: words(&["/init"]),
        command: Vec::new(),
        working_dir: "/srv".to_owned(),
        stop_signal: "SIGINT".to_owned(),
    };
    assert_eq!(config(run), Ok(expected));
    for nothing in [Value::Null, json!({})] {
        assert_eq!(config(nothing), Ok(ImageConfig::default()));
    }
    let error = config(json!({"Cmd": "/bin/sh"})).unwrap_err().to_string();
    assert!(error.starts_with("its configuration cannot be read"), "{error}");
}

proptest! {
    #[test]
    fn nothing_from_a_registry_makes_it_panic(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..100),
            "\\{\"schemaVersion\":[0-3],\"(mediaType|layers|config)\":[\\[\\]{}\"a-z0-9]{0,10}\\}"
                .prop_map(String::into_bytes),
        ],
        content_type in proptest::option::of(".{0,20}"),
    ) {
        let _ = Document::parse(&bytes, content_type.as_deref());
        let Ok(Document::Manifest(manifest)) = parse(&manifest(), None) else { panic!() };
        let _ = ImageConfig::parse(&bytes, &manifest);
    }
}
