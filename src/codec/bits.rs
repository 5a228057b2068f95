//! Bits, the lowest first, and the code that small numbers are written in.

use super::reader::Malformed;

/// Rice codes count in ones up to here; larger numbers follow these ones as [`RAW_BITS`] bits.
const QUOTIENT_MAX: u32 = 12;
/// Bits of a number that is too large for its Rice code.
const RAW_BITS: u32 = 32;

/// Where bits go.
pub trait Put {
    /// Puts the lowest `len` bits of `value`, 32 at most; the others are zero.
    fn put(&mut self, value: u32, len: u32);

    /// Puts a number in the Rice code of parameter `k`, 19 at most (R. F. Rice, 1979): its quotient by 2^k in ones and a
    /// zero, then its `k` lowest bits.
    #[inline]
    fn put_rice(&mut self, value: u32, k: u32) {
        // Checks of shifts that cannot overflow would be most of the work.
        let quotient = value.wrapping_shr(k);
        if quotient < QUOTIENT_MAX {
            let ones = 1_u32.wrapping_shl(quotient) - 1;
            let low = value & (1_u32.wrapping_shl(k) - 1);
            self.put(ones | low.wrapping_shl(quotient + 1), quotient + 1 + k);
        } else {
            self.put((1 << QUOTIENT_MAX) - 1, QUOTIENT_MAX);
            self.put(value, RAW_BITS);
        }
    }

    /// Puts a number of either sign: 0, −1, 1, −2 … as 0, 1, 2, 3 …
    fn put_signed(&mut self, value: i32, k: u32) {
        self.put_rice(zigzag(value), k);
    }
}

/// 0, −1, 1, −2 … as 0, 1, 2, 3 …
#[must_use]
pub fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

/// Few bits that many states share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    bits: u64,
    len: u8,
}

impl Bits {
    /// None yet.
    pub const NONE: Bits = Bits { bits: 0, len: 0 };
    /// As many fit.
    pub const MAX: u32 = u64::BITS;

    /// How many.
    #[must_use]
    pub fn len(self) -> u32 {
        u32::from(self.len)
    }

    /// Whether there are none, or were too many.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0 || u32::from(self.len) > Bits::MAX
    }
}

impl Put for Bits {
    fn put(&mut self, value: u32, len: u32) {
        let at = u32::from(self.len);
        if at + len <= Bits::MAX {
            self.bits |= u64::from(value).checked_shl(at).unwrap_or(0);
            self.len += len as u8;
        } else {
            self.len = u8::MAX;
        }
    }
}

/// Appends bits to bytes.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    waiting: u64,
    /// Fewer than 32.
    len: u32,
}

impl Writer {
    /// Appends to `out`.
    #[must_use]
    pub fn new(out: Vec<u8>) -> Writer {
        Writer { out, waiting: 0, len: 0 }
    }

    /// Appends bits that are ready.
    #[inline]
    pub fn put_bits(&mut self, bits: Bits) {
        let low = bits.len().min(32);
        self.put(bits.bits as u32, low);
        if bits.len() > 32 {
            self.put((bits.bits >> 32) as u32, bits.len() - 32);
        }
    }

    /// The bytes; the last one is filled up with ones.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        let bytes = self.len.div_ceil(8) as usize;
        let filled = self.waiting | u64::MAX << self.len;
        self.out.extend_from_slice(&filled.to_le_bytes()[..bytes]);
        self.out
    }
}

impl Put for Writer {
    #[inline]
    fn put(&mut self, value: u32, len: u32) {
        self.waiting |= u64::from(value).wrapping_shl(self.len);
        self.len += len;
        if self.len >= 32 {
            self.out.extend_from_slice(&(self.waiting as u32).to_le_bytes());
            self.waiting >>= 32;
            self.len -= 32;
        }
    }
}

/// Takes bits off bytes.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// From the first bit on.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, at: 0 }
    }

    /// Bits not taken yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    /// Whether nothing is left but the ones that fill the last byte.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let left = self.left();
        left == 0 || left < 8 && self.bytes.last().is_some_and(|last| last >> (8 - left) == 0xff >> (8 - left))
    }

    /// Takes `len` bits, 32 at most.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn get(&mut self, len: u32) -> Result<u32, Malformed> {
        let value = self.window() & ((1 << len) - 1);
        self.skip(len)?;
        Ok(value as u32)
    }

    /// The next bits, 57 at least; zeros beyond the end.
    fn window(&self) -> u64 {
        let rest = &self.bytes[self.at / 8..];
        let word = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            word
        });
        u64::from_le_bytes(word) >> (self.at % 8)
    }

    fn skip(&mut self, len: u32) -> Result<(), Malformed> {
        if (len as usize) > self.left() {
            return Err(Malformed::Short(self.at / 8));
        }
        self.at += len as usize;
        Ok(())
    }

    /// Takes a number in the Rice code of parameter `k`.
    ///
    /// # Errors
    /// When it is cut off, or written longer than it need be.
    pub fn rice(&mut self, k: u32) -> Result<u32, Malformed> {
        let window = self.window();
        let quotient = window.trailing_ones();
        if quotient < QUOTIENT_MAX {
            self.skip(quotient + 1 + k)?;
            let low = window >> (quotient + 1) & ((1 << k) - 1);
            return Ok(quotient << k | low as u32);
        }
        self.skip(QUOTIENT_MAX)?;
        let value = self.get(RAW_BITS)?;
        if value >> k < QUOTIENT_MAX { Err(Malformed::Bad("number")) } else { Ok(value) }
    }

    /// Takes a number of either sign.
    ///
    /// # Errors
    /// As [`BitReader::rice`].
    pub fn signed(&mut self, k: u32) -> Result<i32, Malformed> {
        let value = self.rice(k)?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_got(numbers in prop::collection::vec((any::<u32>(), 0..16_u32, 0..33_u32), 0..60)) {
            let mut writer = Writer::new(vec![7]);
            for (value, k, len) in &numbers {
                writer.put_rice(*value, *k);
                writer.put((u64::from(*value) & ((1 << len) - 1)) as u32, *len);
            }
            let bytes = writer.end();
            prop_assert_eq!(bytes[0], 7);
            let mut reader = BitReader::new(&bytes[1..]);
            for (value, k, len) in &numbers {
                prop_assert!(!reader.is_at_end() || *len == 0);
                prop_assert_eq!(reader.rice(*k), Ok(*value));
                prop_assert_eq!(reader.get(*len), Ok((u64::from(*value) & ((1 << len) - 1)) as u32));
            }
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn shared_bits_are_the_same_bits(numbers in prop::collection::vec((-9_000..9_000_i32, 0..12_u32), 0..8)) {
            let (mut bits, mut apart, mut shared) = (Bits::NONE, Writer::new(Vec::new()), Writer::new(Vec::new()));
            for (value, k) in &numbers {
                bits.put_signed(*value, *k);
                apart.put_signed(*value, *k);
            }
            let fits = apart.out.len() * 8 + apart.len as usize <= 64;
            prop_assert_eq!(!bits.is_empty(), fits && !numbers.is_empty());
            if !bits.is_empty() {
                shared.put_bits(bits);
                let (shared, apart) = (shared.end(), apart.end());
                prop_assert_eq!(&shared, &apart);
                let mut reader = BitReader::new(&shared);
                for (value, k) in &numbers {
                    prop_assert_eq!(reader.signed(*k), Ok(*value));
                }
            }
        }

        #[test]
        fn anything_can_be_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), k in 0..16_u32) {
            let mut reader = BitReader::new(&bytes);
            while reader.rice(k).is_ok() {}
        }
    }
}
