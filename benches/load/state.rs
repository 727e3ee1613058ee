//! A boot host's state, made by the program itself, and many gateways in it, made of one.
//!
//! `gateway add` and `publish` take a process and several fsyncs for each gateway. The first
//! gateways are made with them; the others are copies with certificates of their own, in the same
//! files (docs/architecture.md).

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use farmgate::identity::Certificate;
use farmgate::identity::GatewayName;
use farmgate::identity::pki::ALWAYS;
use farmgate::identity::pki::Authority;
use farmgate::identity::pki::KeyType;
use farmgate::identity::pki::NO_END;
use farmgate::identity::pki::Validity;
use serde_json::Value;

use crate::client::Gateway;

pub(crate) struct State {
    pub(crate) dir: PathBuf,
    farmgate: PathBuf,
}

impl State {
    pub(crate) fn at(dir: PathBuf, farmgate: &Path) -> Self {
        Self { dir, farmgate: farmgate.to_owned() }
    }

    /// A copy for one run: what boots leave is gone with it.
    pub(crate) fn copy_to(&self, dir: &Path) -> Result<Self> {
        let status = Command::new("cp").arg("-a").arg(&self.dir).arg(dir).status()?;
        ensure!(status.success(), "cannot copy {}", self.dir.display());
        Ok(Self::at(dir.to_owned(), &self.farmgate))
    }

    /// Runs `farmgate`, and returns what it printed.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(&self.farmgate).arg("--state").arg(&self.dir).args(args).output();
        let output = output.with_context(|| format!("cannot start {}", self.farmgate.display()))?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "farmgate {}: {error}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn init(&self, key_type: KeyType) -> Result<()> {
        let key_type = key_type.to_string();
        let url = "https://127.0.0.1:8443";
        self.run(&["init", "--nginx", "--ntp", "none", "--url", url, "--key-type", &key_type])?;
        Ok(())
    }

    pub(crate) fn publish(&self, gateway: &str, folder: &Path) -> Result<()> {
        self.run(&["publish", "--force", gateway, &folder.display().to_string()]).map(drop)
    }

    pub(crate) fn authority(&self) -> Result<Authority> {
        let read = |name: &str| fs::read_to_string(self.dir.join("pki").join(name));
        Ok(Authority::from_pem(&read("ca.crt")?, &read("ca.key")?)?)
    }

    /// Adds a gateway like `model`, which has the same generations.
    pub(crate) fn copy_gateway(
        &self,
        authority: &Authority,
        key_type: KeyType,
        model: &str,
        name: &str,
    ) -> Result<()> {
        let mut record = self.record(model)?;
        let model_id = text(&record, "id")?.to_owned();
        let id = format!("{name}-{:08x}", crc32fast::hash(name.as_bytes()));
        let validity = Validity { not_before: ALWAYS, not_after: NO_END };
        let issued = authority.issue_client(&GatewayName::from_str(name)?, key_type, validity)?;
        let certificate = Certificate::from_pem(issued.certificate_pem.as_bytes())?;
        let fingerprint = certificate.fingerprint.to_string();
        record["name"] = name.into();
        record["id"] = id.as_str().into();
        record["certificates"][0]["fingerprint"] = fingerprint.as_str().into();
        record["certificates"][0]["serial"] = certificate.serial.to_string().into();
        let folder = self.gateway_dir(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        let certificate = issued.certificate_pem.as_bytes();
        write(&folder.join(format!("{fingerprint}.crt")), certificate)?;
        write(&folder.join(format!("{fingerprint}.key")), issued.private_key_pem.as_bytes())?;
        write(&folder.join("gateway.json"), &serde_json::to_vec_pretty(&record)?)?;
        let index = self.dir.join("gateways/.by-fingerprint").join(&fingerprint);
        std::os::unix::fs::symlink(Path::new("..").join(name), index)?;
        copy_events(&self.events_dir(&model_id), &self.events_dir(&id))
    }

    /// The folder of a gateway's events.
    pub(crate) fn events_of(&self, name: &str) -> Result<PathBuf> {
        Ok(self.events_dir(text(&self.record(name)?, "id")?))
    }

    /// A gateway as a client, with its certificate.
    pub(crate) fn client(&self, name: &str) -> Result<Gateway> {
        let record = self.record(name)?;
        let fingerprint = text(&record["certificates"][0], "fingerprint")?.to_owned();
        let file = |kind: &str| self.gateway_dir(name).join(format!("{fingerprint}.{kind}"));
        Gateway::new(&self.dir.join("pki/ca.crt"), &file("crt"), &file("key"))
    }

    fn record(&self, name: &str) -> Result<Value> {
        let path = self.gateway_dir(name).join("gateway.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    fn gateway_dir(&self, name: &str) -> PathBuf {
        self.dir.join("gateways").join(name)
    }

    fn events_dir(&self, id: &str) -> PathBuf {
        self.dir.join("store/gateways").join(id)
    }
}

/// The name of the gateway with this number.
pub(crate) fn name(number: usize) -> String {
    format!("gateway-{number:05}")
}

fn text<'a>(record: &'a Value, key: &str) -> Result<&'a str> {
    record[key].as_str().with_context(|| format!("a record without {key}"))
}

fn copy_events(from: &Path, to: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Writes a file of which nobody else may read anything.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(bytes)?)
}
