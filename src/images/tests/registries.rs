//! Registries, good ones and bad ones, as a server of a few lines plays them.

use super::*;

/// Changes a body on its way, by the request's path.
type Damage = Box<dyn Fn(&str, &mut Vec<u8>) + Send>;

#[test]
fn a_tag_becomes_a_digest_and_nothing_is_fetched_twice() {
    let mut content = Content::default();
    let ours = content.image("amd64", &[&layer(1), &layer(2)]);
    let theirs = content.image("arm64", &[&layer(9)]);
    let mut variants = [theirs, ours.clone()];
    for (variant, architecture) in variants.iter_mut().zip(["arm64", "amd64"]) {
        variant["platform"] = json!({"os": "linux", "architecture": architecture});
    }
    let index = json!({"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": variants});
    let index = content.manifest(DOCKER_INDEX, &index);
    content.tag("v12", &index);
    let next = content.image("amd64", &[&layer(1), &layer(3)]);
    content.tag("v13", &next);
    let registry = Fake::start(move |request| content.answer(request));
    let (dir, blobs) = store();
    let (images, files) = (registry.images(None), folder(dir.path()));

    let v12 = images.resolve(&registry.reference(":v12"), &files).unwrap();
    assert_eq!(v12.digest.to_string(), ours["digest"]);
    // Resolving fetches no layer.
    assert_eq!(registry.asked().len(), 3);
    assert_eq!(v12.missing(&blobs), v12.size());
    let came = std::cell::Cell::new(0);
    images.hold(&v12, &files, &blobs, &|bytes| came.set(came.get() + bytes)).unwrap();
    assert_eq!(came.get(), 200_000);
    assert_eq!(registry.asked().len(), 2);
    assert_eq!(v12.missing(&blobs), 0);
    images.hold(&v12, &files, &blobs, &quiet).unwrap();
    assert!(registry.asked().is_empty());

    // By the digest of the index, and by that of the manifest.
    for digest in [&index["digest"], &ours["digest"]] {
        let reference = registry.reference(&format!(":v12@{}", digest.as_str().unwrap()));
        assert_eq!(images.resolve(&reference, &files).unwrap().digest, v12.digest);
    }
    registry.asked();
    let v13 = images.resolve(&registry.reference(":v13"), &files).unwrap();
    images.hold(&v13, &files, &blobs, &quiet).unwrap();
    let layers = registry.asked();
    assert_eq!(layers.last().unwrap(), &format!("blobs/{}", Digest::of(&layer(3))));
    assert_eq!(layers.len(), 3, "manifest, configuration and one layer: {layers:?}");

    let files = store_layout(&[v13.clone(), v12.clone()], &blobs).unwrap();
    assert_eq!(files, layout(&[v12.clone(), v13.clone()]).unwrap());
    assert_eq!(files.len(), 2 + 2 + 2 + 3, "{files:?}");
    assert!(files.keys().all(|path| is_image_file(path)));
    for (path, asset) in &files {
        blobs.verify(asset).unwrap();
        if let Some(name) = path.strip_prefix("oci/blobs/sha256/") {
            assert_eq!(name, asset.sha256.to_string());
        }
    }
    let read = |asset: &Asset| blobs.read(asset).ok();
    let held = held(&files, &read);
    assert_eq!(held, [HeldImage::from(&v12), HeldImage::from(&v13)]);
    let change = changes(&held[..1], &held[1..]);
    let size = v13.size();
    assert_eq!(change[0].new, Some(size - 100_000));
    let line = change[0].to_string();
    let host = registry.host.replace(':', "_");
    assert!(
        line.starts_with(&format!("image {host}/farm/gateway changed from v12 (sha256:")),
        "{line}"
    );
    assert!(line.ends_with(" of 201 kB new"), "{line}");
    assert_eq!(changes(&held, &held), []);
    assert!(changes(&[], &held[..1])[0].to_string().contains("v12 added (sha256:"));
    assert!(changes(&held[..1], &[])[0].to_string().ends_with("v12 removed"));
}

#[test]
fn half_an_answer_is_continued_and_verified_as_a_whole() {
    for knows_ranges in [true, false] {
        let (content, _) = simple();
        let registry = Fake::start(move |request| {
            let mut reply = content.answer(request);
            if !request.path.contains("/blobs/") || reply.body.len() != 100_000 {
                return reply;
            }
            let from =
                request.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-'));
            match from.and_then(|from| from.parse::<usize>().ok()) {
                None => reply.sent = 60_000,
                Some(from) if knows_ranges => {
                    let range = format!("bytes {from}-99999/100000");
                    let rest = reply.body[from..].to_vec();
                    return Reply::new("206 Partial Content", rest).with("Content-Range", range);
                }
                // Now it has time.
                Some(_) => {}
            }
            reply
        });
        let (dir, blobs) = store();
        let (images, files) = (registry.images(None), folder(dir.path()));
        let image = images.resolve(&registry.reference(":v12"), &files).unwrap();
        images.hold(&image, &files, &blobs, &quiet).unwrap();
        assert_eq!(image.missing(&blobs), 0);
    }
}

#[test]
fn other_bytes_than_promised_never_become_blobs() {
    let (content, digest) = simple();
    let bad_layer = Digest::of(&layer(2));
    let damages: [(&str, Damage); 5] = [
        (
            "configuration does not have",
            Box::new(move |path, body| {
                if path.contains("/blobs/") && body.len() != 100_000 {
                    body[0] ^= 1;
                }
            }),
        ),
        (
            "layer does not have",
            Box::new(move |path, body| {
                if path.ends_with(&bad_layer.to_string()) {
                    body[50_000] ^= 1;
                }
            }),
        ),
        (
            "more than the 100000 bytes",
            Box::new(move |path, body| {
                if path.ends_with(&bad_layer.to_string()) {
                    body.push(0);
                }
            }),
        ),
        (
            "manifest cannot be read",
            Box::new(|path, body| {
                if path.contains("/manifests/") {
                    *body = b"<html>".to_vec();
                }
            }),
        ),
        (
            "manifest has more than",
            Box::new(|path, body| {
                if path.contains("/manifests/") {
                    *body = vec![b' '; 5 << 20];
                }
            }),
        ),
    ];
    for (part, damage) in damages {
        let content = content.clone();
        let registry = Fake::start(move |request| {
            let mut reply = content.answer(request);
            damage(&request.path, &mut reply.body);
            reply.sent = reply.body.len();
            reply
        });
        let (dir, blobs) = store();
        let (images, files) = (registry.images(None), folder(dir.path()));
        let held = images
            .resolve(&registry.reference(":v12"), &files)
            .and_then(|image| images.hold(&image, &files, &blobs, &quiet));
        let error = held.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(
            error.starts_with(&format!("image {}/farm/gateway:v12: ", registry.host)),
            "{error}"
        );
        assert!(blobs.list().unwrap().iter().all(|(id, _)| id.to_string() != bad_layer.hex()));
    }
    // A reference by digest is not satisfied by another manifest.
    let mut changed = content.clone();
    let other = changed.image("amd64", &[&layer(7)]);
    changed.tag(&digest, &other);
    let registry = Fake::start(move |request| changed.answer(request));
    let (dir, _) = store();
    let wanted = registry.reference(&format!("@{digest}"));
    let error = registry.images(None).resolve(&wanted, &folder(dir.path())).unwrap_err();
    assert!(matches!(error.why, Why::Damaged(_)), "{error}");
}

#[test]
fn an_image_for_other_machines_or_too_large_is_refused() {
    let mut content = Content::default();
    let arm = content.image("arm64", &[&layer(1)]);
    content.tag("arm", &arm);
    let mut variant = arm;
    variant["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [variant]});
    let index = content.manifest(OCI_INDEX, &index);
    content.tag("list", &index);
    let fine = content.image("amd64", &[&layer(1)]);
    content.tag("fine", &fine);
    let registry = Fake::start(move |request| content.answer(request));
    let (dir, _) = store();
    let files = folder(dir.path());
    let refused = |max, tag: &str| {
        let images = Images::new(BTreeMap::new(), max).unwrap();
        images.resolve(&registry.reference(tag), &files).map_err(|error| error.to_string())
    };
    assert!(refused(MOST, ":arm").unwrap_err().contains("but for linux/arm64"));
    assert!(refused(MOST, ":list").unwrap_err().contains("no variant for linux/amd64"));
    assert!(refused(1000, ":fine").unwrap_err().contains("1000 is the limit"));
    assert!(refused(MOST, ":fine").is_ok());
    let missing = refused(MOST, ":v99").unwrap_err();
    assert!(missing.contains("has no manifests/v99 of farm/gateway"), "{missing}");
}

#[test]
fn a_registry_gets_the_password_or_a_token_that_it_asks_for() {
    for bearer in [true, false] {
        let (content, _) = simple();
        let registry = Fake::start(move |request| {
            let basic = "Basic ZmFybTp1bm1pc3Rha2FibGU=";
            let authorization = request.header("authorization");
            let realm = format!("http://{}/token", request.header("host").unwrap());
            let challenge = match bearer {
                true => format!("Bearer realm=\"{realm}\",service=\"fake\""),
                false => "Basic realm=\"fake\"".to_owned(),
            };
            if request.path.starts_with("/token?") {
                let scope = request.path.contains("scope=repository%3Afarm%2Fgateway%3Apull");
                return match authorization == Some(basic) && scope {
                    true => Reply::new("200 OK", r#"{"token": "opaque"}"#),
                    false => Reply::new("401 Unauthorized", ""),
                };
            }
            let wanted = if bearer { "Bearer opaque" } else { basic };
            match authorization == Some(wanted) {
                true => content.answer(request),
                false => Reply::new("401 Unauthorized", "").with("WWW-Authenticate", challenge),
            }
        });
        let (dir, blobs) = store();
        let (files, v12) = (folder(dir.path()), registry.reference(":v12"));
        let images = registry.images(Some("farm:unmistakable"));
        let image = images.resolve(&v12, &files).unwrap();
        registry.asked();
        images.hold(&image, &files, &blobs, &quiet).unwrap();
        // It is not asked again who it is.
        assert_eq!(registry.asked().len(), 2);

        let error = registry.images(None).resolve(&v12, &files).unwrap_err();
        assert!(matches!(error.why, Why::NoCredentials { .. }), "{error}");
        let error = registry.images(Some("farm:wrong-one")).resolve(&v12, &files).unwrap_err();
        assert!(matches!(error.why, Why::Unauthorized { .. }), "{error}");
        assert!(!error.to_string().contains("wrong-one") && !error.is_out_of_reach());
    }
}

#[test]
fn a_busy_registry_is_asked_again_unless_it_wants_a_long_rest() {
    for (rest, patient) in [("0", true), ("3600", false)] {
        let (content, _) = simple();
        let turned_away = Mutex::new(0);
        let registry = Fake::start(move |request| {
            let mut turned_away = turned_away.lock().unwrap();
            *turned_away += 1;
            match *turned_away {
                1 => Reply::new("429 Too Many Requests", "").with("Retry-After", rest),
                2 => Reply::new("502 Bad Gateway", ""),
                _ => content.answer(request),
            }
        });
        let (dir, _) = store();
        let found = registry.images(None).resolve(&registry.reference(":v12"), &folder(dir.path()));
        assert_eq!(found.is_ok(), patient);
        if let Err(error) = found {
            assert!(error.is_out_of_reach() && error.to_string().ends_with("try again in 3600 s"));
        }
    }
}

#[test]
fn credentials_go_to_no_other_server() {
    let (content, _) = simple();
    let seen: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let (noted, stored) = (seen.clone(), content.clone());
    let elsewhere = Fake::start(move |request| {
        noted.lock().unwrap().push(request.header("authorization").map(str::to_owned));
        stored.answer(request)
    });
    let target = elsewhere.host.clone();
    let registry = Fake::start(move |request| {
        if request.header("authorization").is_none() {
            return Reply::new("401 Unauthorized", "").with("WWW-Authenticate", "Basic realm=x");
        }
        match request.path.contains("/blobs/") {
            false => content.answer(request),
            true => {
                let location = format!("http://{target}{}", request.path);
                Reply::new("307 Temporary Redirect", "").with("Location", location)
            }
        }
    });
    let (dir, blobs) = store();
    let (images, files) = (registry.images(Some("farm:secret")), folder(dir.path()));
    let image = images.resolve(&registry.reference(":v12"), &files).unwrap();
    images.hold(&image, &files, &blobs, &quiet).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 3 && seen.iter().all(Option::is_none), "{seen:?}");
}
