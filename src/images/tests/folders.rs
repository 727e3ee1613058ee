//! Images in files of the folder.

use super::*;

/// Writes an image layout and returns the digest of its only image.
fn write_layout(dir: &Path, name: &str) -> String {
    let (content, digest) = simple();
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for (path, (_, bytes)) in &content.0 {
        if let Some((_, hex)) = path.split_once("sha256:") {
            fs::write(blobs.join(hex), bytes).unwrap();
        }
    }
    let size = content.0["manifests/v12"].1.len();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": OCI_MANIFEST, "digest": digest, "size": size, "annotations": {
            "org.opencontainers.image.ref.name": "v12", "io.containerd.image.name": name,
        }
    }]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    digest
}

#[test]
fn a_layout_of_the_folder_is_an_image_and_no_link_leads_out_of_it() {
    let (dir, blobs) = store();
    let digest = write_layout(&dir.path().join("folder/image"), "docker.io/farm/gateway:v12");
    let files = folder(&dir.path().join("folder"));
    let images = Images::new(BTreeMap::new(), MOST).unwrap();
    for reference in ["oci:image", "oci:image:v12"] {
        let image = images.resolve(&reference.parse().unwrap(), &files).unwrap();
        assert_eq!(image.digest.to_string(), digest);
        images.hold(&image, &files, &blobs, &quiet).unwrap();
        assert_eq!(image.missing(&blobs), 0);
    }
    assert!(is_clean(&blobs, 4));
    let refused = |reference: &str| {
        let held = images
            .resolve(&reference.parse().unwrap(), &files)
            .and_then(|image| images.hold(&image, &files, &store().1, &quiet));
        held.unwrap_err().to_string()
    };
    assert!(
        refused("oci:image:v13").contains("has no image v13; there is"),
        "{}",
        refused("oci:image:v13")
    );
    assert!(refused("oci:elsewhere").contains("cannot read elsewhere/index.json"));
    // The same bytes, but from outside.
    let part = dir.path().join("folder/image/blobs/sha256").join(Digest::of(&layer(2)).hex());
    let outside = dir.path().join("outside");
    fs::rename(&part, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &part).unwrap();
    assert!(refused("oci:image").contains("cannot read image/blobs/sha256/"));
    fs::remove_file(&part).unwrap();
    fs::write(&part, layer(3)).unwrap();
    assert!(refused("oci:image").contains("does not have the bytes"));
}

fn archive(path: &Path, members: &[(&str, &[u8])], links: &[(&str, &str)]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    for (name, target) in links {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    }
    tar.finish().unwrap();
}

#[test]
fn both_kinds_of_saved_archives_are_images() {
    let (dir, blobs) = store();
    let at = dir.path().join("folder");
    let digest = write_layout(&at.join("image"), "docker.io/farm/gateway:v12");
    let mut members = Vec::new();
    for path in ["oci-layout", "index.json"] {
        members.push((path.to_owned(), fs::read(at.join("image").join(path)).unwrap()));
    }
    for entry in fs::read_dir(at.join("image/blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("blobs/sha256/{}", path.file_name().unwrap().to_str().unwrap());
        members.push((name, fs::read(path).unwrap()));
    }
    let members: Vec<(&str, &[u8])> =
        members.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    archive(&at.join("new.tar"), &members, &[]);

    // Two layers with the same bytes: docker links the second one.
    let (one, two) = (layer(1), layer(2));
    let diffs = [Digest::of(&one), Digest::of(&two), Digest::of(&one)];
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": diffs}});
    let config = config.to_string();
    let saved = json!([{
        "Config": "c.json", "RepoTags": ["farm/gateway:v12"],
        "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"],
    }]);
    let saved = saved.to_string();
    let old: [(&str, &[u8]); 4] = [
        ("c.json", config.as_bytes()),
        ("1/layer.tar", &one),
        ("2/layer.tar", &two),
        ("manifest.json", saved.as_bytes()),
    ];
    archive(&at.join("old.tar"), &old, &[("3/layer.tar", "../1/layer.tar")]);

    let files = folder(&at);
    let images = Images::new(BTreeMap::new(), MOST).unwrap();
    let resolve = |reference: &str| images.resolve(&reference.parse().unwrap(), &files);
    for reference in ["docker-archive:new.tar", "docker-archive:new.tar:farm/gateway:v12"] {
        assert_eq!(resolve(reference).unwrap().digest.to_string(), digest);
    }
    let image = resolve("docker-archive:old.tar:farm/gateway:v12").unwrap();
    assert_eq!(image.digest, resolve("docker-archive:old.tar").unwrap().digest);
    let media_types: Vec<_> = image.manifest.layers.iter().map(|l| l.media_type.as_str()).collect();
    assert_eq!(media_types, [OCI_LAYER; 3]);
    let layers: Vec<_> = image.manifest.layers.iter().map(|l| l.digest).collect();
    assert_eq!(layers, diffs);
    images.hold(&image, &files, &blobs, &quiet).unwrap();
    assert_eq!(image.missing(&blobs), 0);

    archive(&at.join("out.tar"), &old, &[("3/layer.tar", "../../../../etc/passwd")]);
    archive(&at.join("loop.tar"), &old, &[("3/layer.tar", "../3/layer.tar")]);
    archive(&at.join("other.tar"), &[("a", b"b")], &[]);
    fs::write(at.join("no.tar"), vec![1; 2000]).unwrap();
    for (reference, part) in [
        ("docker-archive:out.tar", "cannot read 3/layer.tar of out.tar"),
        ("docker-archive:loop.tar", "cannot read 3/layer.tar of loop.tar"),
        ("docker-archive:other.tar", "neither manifest.json nor index.json"),
        ("docker-archive:no.tar", "no tar archive"),
        ("docker-archive:missing.tar", "cannot read missing.tar"),
        ("docker-archive:old.tar:farm/gateway:v13", "there is farm/gateway:v12"),
        ("docker-archive:new.tar:farm/gateway", "there is"),
    ] {
        let error = resolve(reference).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
