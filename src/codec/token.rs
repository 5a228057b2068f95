//! Resume tokens: text that lets whoever holds it go on as a session. Sealed with the cluster's key (AES-256-GCM-SIV, RFC
//! 8452), so that nobody else can make or read one; without a random number, so that the core stays pure and two sealings
//! of the same claim are the same bytes. Who may still go on is not decided here, but in the log (`region/sessions.rs`).

use std::fmt;

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::message::Id;
use super::reader::Reader;
use crate::limits::RESUME_TOKEN_BYTES_MAX;

/// Version of what is sealed. A token of another version opens nothing.
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;

/// The key that all gateways of a cluster share. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; Key::BYTES]);

impl Key {
    /// Its length, bytes.
    pub const BYTES: usize = 32;

    /// A key of these bytes, which must be drawn at random.
    #[must_use]
    pub fn new(bytes: [u8; Key::BYTES]) -> Key {
        Key(bytes)
    }

    /// Reads 64 hexadecimal digits; `None` if it is something else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Key> {
        let digits: Option<Vec<u8>> = text.trim().chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
        let bytes: Vec<u8> = digits?.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect();
        (text.trim().len() == 2 * Key::BYTES).then(|| bytes.try_into().ok()).flatten().map(Key)
    }

    /// The bytes, to be kept where only the gateway reads them.
    #[must_use]
    pub fn bytes(&self) -> &[u8; Key::BYTES] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The session.
    pub session: Id,
    /// Its user; decides in which partition of `direct` its openings stand.
    pub user: Id,
    /// Its avatar.
    pub entity: Id,
    /// Which of its openings the token was given for.
    pub incarnation: u64,
}

/// Seals and opens the tokens of one world.
pub struct Seal {
    cipher: Aes256GcmSiv,
    /// Sealed along: a token of another world opens nothing.
    world: String,
}

impl Seal {
    /// With the cluster's key.
    #[must_use]
    pub fn new(key: &Key, world: &str) -> Seal {
        Seal { cipher: Aes256GcmSiv::new(&key.0.into()), world: world.to_owned() }
    }

    /// The token of a claim.
    #[must_use]
    pub fn seal(&self, claim: &Claim) -> String {
        let nonce = nonce(claim.session, claim.incarnation);
        let mut plain = vec![VERSION];
        [claim.user, claim.entity, claim.incarnation].iter().for_each(|n| plain.extend(n.to_le_bytes()));
        let payload = Payload { msg: &plain, aad: self.world.as_bytes() };
        let sealed = self.cipher.encrypt(&nonce, payload).expect("a few bytes are not too long");
        BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// What a token says; `None` if it is none of ours, of this world. Why not is nobody's business.
    #[must_use]
    pub fn open(&self, token: &str) -> Option<Claim> {
        if token.len() > RESUME_TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (head, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
        let session = Id::from_le_bytes(head[..8].try_into().ok()?);
        let nonce = Nonce::from(<[u8; NONCE_BYTES]>::try_from(head).ok()?);
        let payload = Payload { msg: sealed, aad: self.world.as_bytes() };
        let plain = self.cipher.decrypt(&nonce, payload).ok()?;
        let mut reader = Reader::new(&plain);
        if reader.u8().ok()? != VERSION {
            return None;
        }
        let (user, entity, incarnation) = (reader.u64().ok()?, reader.u64().ok()?, reader.u64().ok()?);
        reader.end().ok()?;
        Some(Claim { session, user, entity, incarnation })
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.world)
    }
}

/// Never the same for two claims of a cluster, until a partition of `direct` has 2^32 records; and even then the cipher
/// gives away no more than that two claims are the same.
fn nonce(session: Id, incarnation: u64) -> Nonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&session.to_le_bytes());
    nonce[8..].copy_from_slice(&(incarnation as u32).to_le_bytes());
    Nonce::from(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim = Claim { session: 1 << 52, user: 7, entity: 1 << 52 | 1, incarnation: 300 };

    fn seal(key: u8, world: &str) -> Seal {
        Seal::new(&Key::new([key; Key::BYTES]), world)
    }

    #[test]
    fn a_token_opens_where_it_was_sealed_and_nowhere_else() {
        let token = seal(1, "plaza").seal(&CLAIM);
        assert!(token.len() <= RESUME_TOKEN_BYTES_MAX);
        assert_eq!(seal(1, "plaza").seal(&CLAIM), token, "without chance");
        assert_eq!(seal(1, "plaza").open(&token), Some(CLAIM));
        assert_eq!(seal(2, "plaza").open(&token), None, "another cluster");
        assert_eq!(seal(1, "arena").open(&token), None, "another world");
    }

    #[test]
    fn whatever_is_changed_a_token_opens_nothing() {
        let seal = seal(1, "plaza");
        let token = seal.seal(&CLAIM);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&token).expect("ours");
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.open(&BASE64_URL_SAFE_NO_PAD.encode(other)), None, "bit {bit}");
        }
        for len in 0..token.len() {
            assert_eq!(seal.open(&token[..len]), None, "cut at {len}");
        }
        for other in ["", "a", "ä", &"a".repeat(RESUME_TOKEN_BYTES_MAX + 1), &format!("{token}a"), &format!("{token}=")]
        {
            assert_eq!(seal.open(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_key_is_64_digits_and_is_not_shown() {
        let text = "00ff".repeat(16);
        let key = Key::from_hex(&format!("{text}\n")).expect("64 digits");
        assert_eq!(key.bytes()[..2], [0, 255]);
        assert_eq!(format!("{key:?}"), "Key(hidden)");
        for wrong in ["", "00", &text[1..], &format!("{text}0"), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Key::from_hex(wrong), None, "{wrong:?}");
        }
    }
}
