use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;

use crate::store::events::EventId;

/// Bytes of the key: the block size of SHA-256, which HMAC uses as it is.
pub const KEY_LEN: usize = 64;

/// Bytes of the authentication code that a token carries: 128 bits.
const CODE_LEN: usize = 16;

/// What the code is about, so that it is good for nothing else.
const PURPOSE: &[u8] = b"farmgate acknowledgement 1\0";

/// Makes and checks the tokens with which a booted system acknowledges its boot:
/// `GATEWAY-ID.BOOT.CODE`. Nothing has to be kept for a token, and nobody without
/// the key can make one.
#[derive(Clone)]
pub struct AckTokens {
    key: [u8; KEY_LEN],
}

impl AckTokens {
    /// Uses this key, which only the boot host knows.
    pub fn new(key: [u8; KEY_LEN]) -> Self {
        Self { key }
    }

    /// The token of one boot of one gateway.
    pub fn issue(&self, gateway_id: &str, boot: EventId) -> String {
        let code = self.code(gateway_id, boot).finalize().into_bytes();
        format!("{gateway_id}.{boot}.{}", hex::encode(&code[..CODE_LEN]))
    }

    /// The gateway and the boot that a token speaks for; `None` if it was not made
    /// here. Takes the same time for every wrong code.
    pub fn check<'a>(&self, token: &'a str) -> Option<(&'a str, EventId)> {
        let mut parts = token.splitn(3, '.');
        let (gateway_id, boot, code) = (parts.next()?, parts.next()?, parts.next()?);
        let boot = EventId::parse(boot)?;
        let mut presented = [0; CODE_LEN];
        hex::decode_to_slice(code, &mut presented).ok()?;
        self.code(gateway_id, boot).verify_truncated_left(&presented).ok()?;
        Some((gateway_id, boot))
    }

    fn code(&self, gateway_id: &str, boot: EventId) -> Hmac<Sha256> {
        let mut code = Hmac::<Sha256>::new(&self.key.into());
        code.update(PURPOSE);
        code.update(gateway_id.as_bytes());
        code.update(b"\0");
        code.update(boot.to_string().as_bytes());
        code
    }
}

impl std::fmt::Debug for AckTokens {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AckTokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_speaks_for_one_boot_of_one_gateway() {
        let tokens = AckTokens::new([7; KEY_LEN]);
        // With letters, which can be written otherwise.
        let [boot, other] = ["a", "b"].map(|end| {
            EventId::parse(&format!("0192a8c0-0000-7000-8000-00000000000{end}")).unwrap()
        });
        let token = tokens.issue("lab-1-0a", boot);
        assert_eq!(tokens.check(&token), Some(("lab-1-0a", boot)));
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)), "{token}");

        let boot_text = boot.to_string();
        for wrong in [
            String::new(),
            "..".to_owned(),
            token.replace("lab-1", "lab-2"),
            token.replace(&boot_text, &other.to_string()),
            token.replace(&boot_text, &boot_text.to_uppercase()),
            token[..token.len() - 2].to_owned(),
            format!("{token}00"),
            format!("{token}.x"),
            tokens.issue("lab-2-0b", boot).replace("lab-2-0b", "lab-1-0a"),
            AckTokens::new([8; KEY_LEN]).issue("lab-1-0a", boot),
        ] {
            assert_eq!(tokens.check(&wrong), None, "{wrong}");
        }
    }
}
