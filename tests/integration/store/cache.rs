use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use super::Host;
use super::directory;
use super::settle;

/// Where the kernel of each generation is, oldest first.
fn kernels(host: &Host) -> Vec<PathBuf> {
    let history = host.history();
    let assets = history.generations().map(|generation| generation.asset("vmlinuz").unwrap());
    assets.map(|asset| host.generations.blobs().path(&asset.sha256)).collect()
}

/// Makes a file look as if it had come, and been used, long ago.
fn age(path: &std::path::Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    let times = fs::FileTimes::new().set_modified(then).set_accessed(then);
    fs::File::open(path).unwrap().set_times(times).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_used_least_recently_is_only_in_the_common_store() {
    let remote = tempfile::tempdir().unwrap();
    let store = format!("{}\ncache-size = \"400k\"", directory(remote.path()));
    let host = Host::first(&store);
    for size in [100_001, 100_002, 100_003, 100_004, 100_005] {
        host.test.publish("lab-1", size);
    }
    let kernels = kernels(&host);
    for (hours, path) in [9, 99, 999, 9999, 9999].into_iter().zip(&kernels) {
        age(path, hours);
    }
    // What the shared store does not have stays.
    host.replica.tidy().await.unwrap();
    assert!(kernels.iter().all(|path| path.exists()));
    settle(&[&host]).await;
    host.replica.tidy().await.unwrap();
    let here: Vec<_> = kernels.iter().map(|path| path.exists()).collect();
    // The current and the previous one stay whatever their age; of the others the oldest go.
    assert_eq!(here, [true, false, false, true, true]);
    // Who goes back gets it again.
    host.test.ok(&["rollback", "lab-1", "2"]);
    assert_eq!(fs::read(&kernels[1]).unwrap().len(), 100_002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_rots_on_disk_is_replaced_before_somebody_gets_it() {
    let remote = tempfile::tempdir().unwrap();
    let host = Host::first(&directory(remote.path()));
    let kernel = host.test.publish("lab-1", 50_000);
    settle(&[&host]).await;
    let path = kernels(&host).remove(0);
    let mut rotten = kernel.clone();
    rotten[30_000] ^= 4;
    fs::write(&path, &rotten).unwrap();
    // One blob each time: the script and the kernel.
    for _ in 0..2 {
        host.replica.tidy().await.unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), kernel);
    assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), rotten);
}

/// `doctor` used to advise this, and it did nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_sync_fetches_what_is_damaged_or_missing_here() {
    let remote = tempfile::tempdir().unwrap();
    let host = Host::first(&directory(remote.path()));
    let kernel = host.test.publish("lab-1", 50_000);
    settle(&[&host]).await;
    let path = kernels(&host).remove(0);
    let mut rotten = kernel.clone();
    rotten[30_000] ^= 4;
    for bytes in [Some(&rotten[..]), Some(&kernel[..100]), None] {
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        host.test.ok(&["store", "sync"]);
        assert_eq!(fs::read(&path).unwrap(), kernel);
    }
    // And says so when nobody has it.
    fs::remove_dir_all(remote.path().join("blobs")).unwrap();
    fs::remove_file(&path).unwrap();
    let output = host.test.run(&["store", "sync"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("vmlinuz of lab-1"), "{error}");
}
