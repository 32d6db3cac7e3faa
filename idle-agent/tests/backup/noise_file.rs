//! A file of noise that takes no room: what is read from it is worked out from the offset.
//!
//! A file system of one file (FUSE, spoken over /dev/fuse with the few calls that reading takes), mounted onto an empty
//! file. Needs root and a kernel with FUSE. Unmounted when dropped.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};

/// Longest read that the kernel may ask for: as many pages as the answer to its greeting says.
const LONGEST: usize = 1 << 20;
const NO_SUCH_CALL: i32 = -38;
/// Bits of the greeting and of an opened file: several reads at once, more pages in one, and nothing in the page cache.
const ASYNC_READ: u32 = 1;
const MAX_PAGES: u32 = 1 << 22;
const DIRECT_IO: u32 = 1;

/// The mounted file.
pub struct NoiseFile(PathBuf);

impl NoiseFile {
    /// Makes the file and shows `size` bytes of noise in it.
    pub fn mount(at: &Path, size: u64) -> Self {
        File::create(at).unwrap();
        // Inherited by `mount`, which hands it to the kernel.
        let device = rustix::fs::open("/dev/fuse", OFlags::RDWR, Mode::empty()).expect("FUSE can be opened");
        let options = format!("fd={},rootmode=100444,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        // The kernel greets at once; the answer may come after `mount` has returned.
        let mounted =
            Command::new("mount").args(["-i", "-t", "fuse", "-o", &options, "noise"]).arg(at).status();
        assert!(mounted.unwrap().success(), "root can mount it");
        rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::CLOEXEC).unwrap();
        let device = File::from(device);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        std::thread::spawn(move || serve(device, size, now));
        Self(at.to_path_buf())
    }
}

impl Drop for NoiseFile {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-i", "-l"]).arg(&self.0).status();
    }
}

/// The noise at an offset that divides by eight; the last word may be cut.
pub fn noise_at(offset: u64, room: &mut [u8]) {
    for (word, bytes) in (offset / 8..).zip(room.chunks_mut(8)) {
        // A finaliser that turns counters into bits of which none follows from another.
        let mut mixed = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        bytes.copy_from_slice(&mixed.to_le_bytes()[..bytes.len()]);
    }
}

fn serve(mut device: File, size: u64, now: u64) {
    let mut request = vec![0; 128 << 10];
    let mut room = vec![0; LONGEST + 8];
    // It ends when the file is unmounted.
    while let Ok(length) = device.read(&mut request) {
        let request = &request[..length];
        let (opcode, unique) = (word(request, 4), long(request, 8));
        let body = &request[40..];
        let answer: Result<Vec<u8>, i32> = match opcode {
            1..=2 | 36 | 42 => match opcode {
                1 => Err(-2),
                // Forgotten or interrupted: nothing is answered.
                _ => continue,
            },
            3 => Ok(attributes(size, now)),
            14 => Ok([&0_u64.to_le_bytes()[..], &words(&[DIRECT_IO, 0])].concat()),
            15 => {
                let (from, count) = (long(body, 8), u64::from(word(body, 16)));
                let end = (from + count).min(size).max(from);
                let lead = from % 8;
                let read = &mut room[..usize::try_from(lead + end - from).unwrap()];
                noise_at(from - lead, read);
                Ok(read[usize::try_from(lead).unwrap()..].to_vec())
            }
            18 | 25 => Ok(Vec::new()),
            26 => {
                let limits = words(&[7, 31, u32::try_from(LONGEST).unwrap(), ASYNC_READ | MAX_PAGES]);
                let more = [&words(&[16 | 12 << 16, 4096, 1, 256])[..], &[0; 32]].concat();
                Ok([limits, more].concat())
            }
            _ => Err(NO_SUCH_CALL),
        };
        let (error, body) = answer.map_or_else(|error| (error, Vec::new()), |body| (0, body));
        let length = u32::try_from(16 + body.len()).unwrap();
        let head = [&length.to_le_bytes()[..], &error.to_le_bytes(), &unique.to_le_bytes()].concat();
        // Refused where the asker is gone.
        let _ = device.write(&[head, body].concat());
    }
}

fn attributes(size: u64, now: u64) -> Vec<u8> {
    let longs: Vec<u8> = [1, size, size.div_ceil(512), now, now, now]
        .iter()
        .flat_map(|value: &u64| value.to_le_bytes())
        .collect();
    let valid = [&3600_u64.to_le_bytes()[..], &words(&[0, 0])].concat();
    // Fractions of the times, mode, links, owner, group, device, block size, flags.
    [valid, longs, words(&[0, 0, 0, 0o100_444, 1, 0, 0, 0, 4096, 0])].concat()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
