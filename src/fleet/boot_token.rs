//! Tokens of boots: with them, booted systems acknowledge, report, and pull images. Pure.

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;

use super::GatewayId;
use crate::fleet::EventId;
use crate::identity::Fingerprint;

/// Length of the key in bytes: the block size of SHA-256, which HMAC uses unchanged.
pub const KEY_LEN: usize = 64;

/// Length of the token's authentication code in bytes: 128 bits.
const CODE_LEN: usize = 16;

/// Length of the certificate's fingerprint in a token, in hex digits. It is short, since a booted
/// system may have to put the token on a kernel command line.
const MARK_LEN: usize = 16;

/// Binds the code of an acknowledgement's token without a certificate, as older versions made it.
const ACKNOWLEDGE_BEFORE: &[u8] = b"farmgate acknowledgement 1\0";

/// The use of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To acknowledge. It may stand on a kernel command line, where every process can read it.
    Acknowledge,
    /// For all that the booted system asks of the boot host: to acknowledge, to report, to pull
    /// images. It comes with the boot's secrets alone.
    Boot,
}

impl Purpose {
    /// Binds the code of a token to this purpose.
    fn label(self) -> &'static [u8] {
        match self {
            Self::Acknowledge => b"farmgate acknowledgement 2\0",
            Self::Boot => b"farmgate boot 1\0",
        }
    }
}

/// Makes and verifies the tokens of boots: `GATEWAY-ID.BOOT.CERTIFICATE.CODE`. No state is kept for
/// a token, and only a holder of the key can make one.
#[derive(Clone)]
pub struct BootTokens {
    key: [u8; KEY_LEN],
}

/// The content of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The gateway's id.
    pub gateway_id: GatewayId,
    /// The event that began the boot.
    pub boot: EventId,
    /// The first digits of the fingerprint of the certificate that the token was given to; `None`
    /// for a token of an older version.
    pub certificate: Option<&'a str>,
}

impl BootTokens {
    /// Uses this key, which only the boot hosts of the fleet know.
    pub fn new(key: [u8; KEY_LEN]) -> Self {
        Self { key }
    }

    /// The token of one boot, for the client with this certificate.
    pub fn issue(
        &self,
        purpose: Purpose,
        gateway_id: &GatewayId,
        boot: EventId,
        certificate: &Fingerprint,
    ) -> String {
        let certificate = &certificate.to_string()[..MARK_LEN];
        let code = self.code(purpose.label(), gateway_id, boot, Some(certificate));
        let code = code.finalize().into_bytes();
        format!("{gateway_id}.{boot}.{certificate}.{}", hex::encode(&code[..CODE_LEN]))
    }

    /// Verifies a token for a purpose and returns its content; `None` if it is forged or for
    /// another purpose. Takes the same time for every wrong code.
    pub fn check<'a>(&self, purpose: Purpose, token: &'a str) -> Option<Claim<'a>> {
        let parts: Vec<&str> = token.split('.').take(5).collect();
        let (gateway_id, boot, certificate, code) = match parts[..] {
            [gateway_id, boot, certificate, code] => (gateway_id, boot, Some(certificate), code),
            [gateway_id, boot, code] if purpose == Purpose::Acknowledge => {
                (gateway_id, boot, None, code)
            }
            _ => return None,
        };
        let label = if certificate.is_some() { purpose.label() } else { ACKNOWLEDGE_BEFORE };
        let (gateway_id, boot) = (gateway_id.parse().ok()?, EventId::parse(boot)?);
        let mut presented = [0; CODE_LEN];
        hex::decode_to_slice(code, &mut presented).ok()?;
        let expected = self.code(label, &gateway_id, boot, certificate);
        expected.verify_truncated_left(&presented).ok()?;
        Some(Claim { gateway_id, boot, certificate })
    }

    /// Verifies a token with which a boot can be acknowledged.
    pub fn check_acknowledging<'a>(&self, token: &'a str) -> Option<Claim<'a>> {
        self.check(Purpose::Acknowledge, token).or_else(|| self.check(Purpose::Boot, token))
    }

    fn code(
        &self,
        label: &[u8],
        gateway_id: &GatewayId,
        boot: EventId,
        certificate: Option<&str>,
    ) -> Hmac<Sha256> {
        let mut code = Hmac::<Sha256>::new(&self.key.into());
        code.update(label);
        code.update(gateway_id.as_str().as_bytes());
        code.update(b"\0");
        code.update(boot.to_string().as_bytes());
        if let Some(certificate) = certificate {
            code.update(b"\0");
            code.update(certificate.as_bytes());
        }
        code
    }
}

impl std::fmt::Debug for BootTokens {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootTokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: Fingerprint = Fingerprint::from_bytes([0xab; 32]);

    fn boots() -> [EventId; 2] {
        // A code with letters, which have another case.
        ["a", "b"].map(|end| {
            EventId::parse(&format!("0192a8c0-0000-7000-8000-00000000000{end}")).unwrap()
        })
    }

    #[test]
    fn a_token_speaks_for_one_boot_of_one_gateway_with_one_certificate() {
        let tokens = BootTokens::new([7; KEY_LEN]);
        let [boot, other] = boots();
        let lab_1: GatewayId = "lab-1-0a".parse().unwrap();
        let lab_2 = "lab-2-0b".parse().unwrap();
        let token = tokens.issue(Purpose::Acknowledge, &lab_1, boot, &CERTIFICATE);
        let certificate = Some("abababababababab");
        assert_eq!(
            tokens.check(Purpose::Acknowledge, &token),
            Some(Claim { gateway_id: lab_1.clone(), boot, certificate })
        );
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)), "{token}");

        let boot_text = boot.to_string();
        let others = |gateway, boot, certificate| {
            tokens.issue(Purpose::Acknowledge, gateway, boot, certificate)
        };
        for wrong in [
            String::new(),
            "..".to_owned(),
            "...".to_owned(),
            token.replace("lab-1", "lab-2"),
            token.replace(&boot_text, &other.to_string()),
            token.replace(&boot_text, &boot_text.to_uppercase()),
            token.replace("abababababababab", "abababababababac"),
            token.replace(".abababababababab", ""),
            token.replace("abababababababab", ""),
            token[..token.len() - 2].to_owned(),
            format!("{token}00"),
            format!("{token}.x"),
            others(&lab_2, boot, &CERTIFICATE).replace("lab-2-0b", "lab-1-0a"),
            BootTokens::new([8; KEY_LEN]).issue(Purpose::Acknowledge, &lab_1, boot, &CERTIFICATE),
        ] {
            assert_eq!(tokens.check(Purpose::Acknowledge, &wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_purpose_alone() {
        let tokens = BootTokens::new([7; KEY_LEN]);
        let [boot, _] = boots();
        let lab_1 = "lab-1-0a".parse().unwrap();
        let [acknowledging, all] = [Purpose::Acknowledge, Purpose::Boot]
            .map(|purpose| tokens.issue(purpose, &lab_1, boot, &CERTIFICATE));
        for (purpose, token, is_good) in [
            (Purpose::Acknowledge, &acknowledging, true),
            (Purpose::Acknowledge, &all, false),
            (Purpose::Boot, &acknowledging, false),
            (Purpose::Boot, &all, true),
        ] {
            assert_eq!(tokens.check(purpose, token).is_some(), is_good, "{purpose:?}");
        }
        assert!(tokens.check_acknowledging(&acknowledging).is_some());
        assert!(tokens.check_acknowledging(&all).is_some());
        assert!(tokens.check_acknowledging(&all.replace("lab-1", "lab-2")).is_none());
        // Tokens without a certificate were only ever made for acknowledgements.
        let before = format!("lab-1-0a.{boot}.5c5fab38e1acb09cc60d2a2d2a3ebefd");
        assert!(tokens.check(Purpose::Boot, &before).is_none());
        assert!(tokens.check_acknowledging(&before).is_some());
    }

    /// Version 0.1 made it with this key: a system that boots during an upgrade has one.
    #[test]
    fn a_token_of_the_version_before_names_no_certificate() {
        let tokens = BootTokens::new([7; KEY_LEN]);
        let [boot, _] = boots();
        let token = format!("lab-1-0a.{boot}.5c5fab38e1acb09cc60d2a2d2a3ebefd");
        let claim = Claim { gateway_id: "lab-1-0a".parse().unwrap(), boot, certificate: None };
        assert_eq!(tokens.check(Purpose::Acknowledge, &token), Some(claim.clone()));
        let named = token.replace(&boot.to_string(), &format!("{boot}.abababababababab"));
        assert_eq!(tokens.check(Purpose::Acknowledge, &named), None);
    }
}
