//! Rabin fingerprints over a sliding window: where a backup cuts a file, so that equal stretches become equal blobs.
//!
//! Has the interface of the published crate `rustic_cdc`, which the backup library uses, and gives the same values as it
//! and as restic: cuts that differed would store everything again. The one difference: the two tables that a polynomial
//! needs are worked out once a process and not once a file, which took almost half of a backup of many small files.

#![allow(clippy::trivially_copy_pass_by_ref)] // the interface is the published crate's

use std::sync::{Arc, Mutex, PoisonError};

/// A polynomial over GF(2): bit n is the coefficient of x^n.
pub type Polynom64 = u64;

/// What a fingerprint asks of a polynomial.
pub trait Polynom {
    /// The degree; -1 of the zero polynomial.
    fn degree(&self) -> i32;

    /// The remainder of a division by `m`, which must not be zero.
    #[must_use]
    fn modulo(&self, m: &Self) -> Self;
}

impl Polynom for Polynom64 {
    fn degree(&self) -> i32 {
        63 - self.leading_zeros().cast_signed()
    }

    fn modulo(&self, m: &Self) -> Self {
        let (mut rest, degree) = (*self, m.degree());
        while rest.degree() >= degree {
            rest ^= m << (rest.degree() - degree);
        }
        rest
    }
}

/// A hash of the last few bytes that is cheap to move on by one.
pub trait RollingHash64 {
    /// Forgets all bytes.
    fn reset(&mut self);

    /// Takes in bytes until all but one of the window's places are filled; says how many there were.
    fn prefill_window<I: Iterator<Item = u8>>(&mut self, iter: &mut I) -> usize;

    /// Both of these.
    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, iter: &mut I) -> usize;

    /// Takes in a byte, and lets go of the oldest.
    fn slide(&mut self, byte: u8);

    /// The hash of the bytes in the window.
    fn get_hash(&self) -> &Polynom64;
}

/// The widest window: 2 to the power of this.
const MOST_BITS: u32 = 8;

/// What each value of a byte stands for at the two ends of the window.
#[derive(Debug)]
struct Tables {
    polynom: Polynom64,
    window_size: usize,
    /// At the old end: byte · x^(8 · (window - 1)), reduced.
    leaving: [Polynom64; 256],
    /// Above the degree, after a shift by one byte: what takes it away and adds what it is worth below.
    overflow: [Polynom64; 256],
}

impl Tables {
    fn new(polynom: Polynom64, window_size: usize) -> Self {
        let (mut leaving, mut overflow) = ([0; 256], [0; 256]);
        for (byte, (leaves, flows)) in (0..).zip(leaving.iter_mut().zip(&mut overflow)) {
            *leaves = (1..window_size).fold(byte, |value: Polynom64, _| (value << 8).modulo(&polynom));
            let high = byte << polynom.degree();
            *flows = high ^ high.modulo(&polynom);
        }
        Self { polynom, window_size, leaving, overflow }
    }

    /// Those that were made last, where they are the same: a process has one repository.
    fn shared(polynom: Polynom64, window_size: usize) -> Arc<Self> {
        static LAST: Mutex<Option<Arc<Tables>>> = Mutex::new(None);
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = last.as_ref().filter(|it| it.polynom == polynom && it.window_size == window_size);
        let tables = fits.map_or_else(|| Arc::new(Self::new(polynom, window_size)), Arc::clone);
        *last = Some(Arc::clone(&tables));
        tables
    }
}

/// Rabin's fingerprint.
#[derive(Debug, Clone)]
pub struct Rabin64 {
    /// The hash of the bytes in the window.
    pub hash: Polynom64,
    tables: Arc<Tables>,
    /// How far right the bits lie that the next shift moves above the degree.
    shift: u32,
    mask: u8,
    oldest: u8,
    window: [u8; 1 << MOST_BITS],
}

impl Rabin64 {
    /// A hash over windows of 2 to the power of `window_size_nb_bits` bytes, 256 at most, modulo a polynomial of a degree
    /// from 8 to 55.
    #[must_use]
    pub fn new_with_polynom(window_size_nb_bits: u32, mod_polynom: &Polynom64) -> Self {
        let window_size = 1_usize << window_size_nb_bits.min(MOST_BITS);
        Self {
            hash: 0,
            tables: Tables::shared(*mod_polynom, window_size),
            shift: u32::try_from(mod_polynom.degree() - 8).unwrap_or_default(),
            mask: u8::try_from(window_size - 1).unwrap_or(u8::MAX),
            oldest: 0,
            window: [0; 1 << MOST_BITS],
        }
    }
}

impl RollingHash64 for Rabin64 {
    fn reset(&mut self) {
        self.window = [0; 1 << MOST_BITS];
        (self.oldest, self.hash) = (0, 0);
    }

    fn prefill_window<I: Iterator<Item = u8>>(&mut self, iter: &mut I) -> usize {
        let bytes = iter.take(self.tables.window_size - 1);
        bytes.fold(0, |count, byte| {
            self.slide(byte);
            count + 1
        })
    }

    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, iter: &mut I) -> usize {
        self.reset();
        self.prefill_window(iter)
    }

    #[inline]
    fn slide(&mut self, byte: u8) {
        let place = usize::from(self.oldest);
        // Masked numbers of eight bits: neither a table nor the window can be left.
        self.hash ^= self.tables.leaving[usize::from(self.window[place])];
        self.window[place] = byte;
        self.oldest = self.oldest.wrapping_add(1) & self.mask;
        let above = ((self.hash >> self.shift) & 0xff) as usize;
        self.hash = ((self.hash << 8) | Polynom64::from(byte)) ^ self.tables.overflow[above];
    }

    #[inline]
    fn get_hash(&self) -> &Polynom64 {
        &self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLYNOM: Polynom64 = 0x003D_A335_8B4D_C173;

    /// After so many bytes more than one, by `rustic_cdc` 0.3.1.
    const KNOWN: [(usize, Polynom64); 7] = [
        (0, 0x0),
        (1, 0x9e),
        (62, 0x0019_4dc3_bb76_6614),
        (63, 0x0015_9cfa_3273_427c),
        (64, 0x000d_1d22_4660_e308),
        (1000, 0x000c_fa9c_5ead_4d3e),
        (4095, 0x0005_2c4d_3481_05c6),
    ];

    fn bytes() -> Vec<u8> {
        (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
    }

    /// By the definition: the window's bytes as one long polynomial, divided.
    fn divided(bytes: &[u8]) -> Polynom64 {
        bytes.iter().fold(0, |rest: Polynom64, byte| {
            (0..8).rev().fold(rest, |rest, bit| ((rest << 1) | u64::from(byte >> bit & 1)).modulo(&POLYNOM))
        })
    }

    #[test]
    fn the_hash_is_the_remainder_of_the_last_bytes() {
        for bits in [5, 6, 8] {
            let (bytes, window) = (bytes(), 1_usize << bits);
            let mut hash = Rabin64::new_with_polynom(bits, &POLYNOM);
            for end in 1..=bytes.len() {
                hash.slide(bytes[end - 1]);
                assert_eq!(hash.hash, divided(&bytes[end.saturating_sub(window)..end]), "after {end} bytes");
            }
        }
    }

    #[test]
    fn a_repository_of_the_published_crate_is_cut_at_the_same_places() {
        // Others would store every large file again, once.
        let mut hash = Rabin64::new_with_polynom(6, &POLYNOM);
        let mut seen = Vec::new();
        for (at, byte) in bytes().into_iter().enumerate() {
            hash.slide(byte);
            if KNOWN.iter().any(|(known, _)| *known == at) {
                seen.push((at, *hash.get_hash()));
            }
        }
        assert_eq!(seen, KNOWN);
    }

    #[test]
    fn a_window_that_is_filled_anew_knows_nothing_of_before() {
        let bytes = bytes();
        let mut hash = Rabin64::new_with_polynom(6, &POLYNOM);
        bytes.iter().for_each(|byte| hash.slide(*byte));
        assert_eq!(hash.reset_and_prefill_window(&mut bytes[100..].iter().copied()), 63);
        assert_eq!(hash.hash, divided(&bytes[100..163]));
        hash.slide(bytes[163]);
        assert_eq!(hash.hash, divided(&bytes[100..164]));
        assert_eq!(hash.reset_and_prefill_window(&mut [1, 2].into_iter()), 2);
        assert_eq!(hash.hash, 0x102);
    }

    #[test]
    fn two_polynomials_at_once_do_not_share_tables() {
        let other = 0x0025_BBBB_BBBB_BBBB;
        let (mut one, mut two) =
            (Rabin64::new_with_polynom(6, &POLYNOM), Rabin64::new_with_polynom(6, &other));
        let mut three = Rabin64::new_with_polynom(6, &POLYNOM);
        for byte in bytes() {
            one.slide(byte);
            two.slide(byte);
            three.slide(byte);
        }
        assert_eq!(one.hash, three.hash);
        assert_ne!(one.hash, two.hash);
        assert!(two.hash.degree() < other.degree());
    }

    #[test]
    fn degrees_and_remainders_are_those_of_polynomials() {
        assert_eq!([0_u64, 1, 0x7f, 0x80, 0x81].map(|it| it.degree()), [-1, 0, 6, 7, 7]);
        assert_eq!([(7, 3), (7, 4), (16, 8), (19, 8)].map(|(a, b): (u64, u64)| a.modulo(&b)), [1, 3, 0, 3]);
    }
}
