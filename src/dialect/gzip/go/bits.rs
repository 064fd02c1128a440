//! Bits → bytes, the first bit lowest, as DEFLATE orders them.

/// Bytes under way, and the bits that do not yet make a byte.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits; `count` is at most 32 and the rest of `bits` zero.
    #[inline]
    pub(super) fn put(&mut self, bits: u32, count: u32) {
        debug_assert!(count <= 32 && u64::from(bits) >> count == 0);
        self.pending |= u64::from(bits) << self.pending_bits;
        self.pending_bits += count;
        if self.pending_bits >= 32 {
            let [first, second, third, fourth, ..] = self.pending.to_le_bytes();
            self.bytes
                .extend_from_slice(&[first, second, third, fourth]);
            self.pending >>= 32;
            self.pending_bits -= 32;
        }
    }

    /// Fills the last byte up with zero bits.
    pub(super) fn align(&mut self) {
        let bytes = self.pending.to_le_bytes();
        self.bytes
            .extend_from_slice(&bytes[..self.pending_bits.div_ceil(8) as usize]);
        self.pending = 0;
        self.pending_bits = 0;
    }

    /// Appends whole bytes, after filling the last one up.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        self.align();
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the whole bytes so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the whole bytes, and keeps the bits that follow them.
    pub(super) fn clear_bytes(&mut self) {
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_fill_bytes_from_the_lowest() {
        let mut bits = BitWriter::default();
        bits.put(0b1, 1);
        bits.put(0b10, 2);
        bits.put(0xffff_ffff, 32);
        bits.put_bytes(b"x");
        assert_eq!(bits.bytes(), [0b1111_1101, 0xff, 0xff, 0xff, 0b111, b'x']);
    }

    #[test]
    fn clearing_keeps_the_bits_of_an_unfinished_byte() {
        let mut bits = BitWriter::default();
        bits.put(0, 32);
        bits.put(0b101, 3);
        bits.clear_bytes();
        bits.align();
        assert_eq!(bits.bytes(), [0b101]);
    }
}
