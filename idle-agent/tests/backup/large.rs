//! Very many files, and very large ones; too long for every day, and each by itself:
//! `EBB_AGENT=<binary> EBB_FILES=1000000 EBB_GIGABYTES=20 cargo test --test backup -- --ignored --nocapture --test-threads 1
//! large`. A million small files and a disk image of so many GB, holes but for islands, have the store in memory. A file of
//! so many GB of noise, which nothing compresses, is worked out from the offset (`noise_file.rs`, needs root and FUSE); its
//! store is on disk and gives each pack away once, so that store and restored file together take its size in `TMPDIR` and
//! little more.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Bench;
use super::noise_file::{NoiseFile, noise_at};
use super::tree::noise;

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs a command to its end; prints how long it took and how much memory it had at most.
fn measured(what: &str, command: &mut Command) {
    let begun = Instant::now();
    // As the daemon starts it.
    command.env("MIMALLOC_PURGE_DELAY", "20");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = String::new();
    let ended = loop {
        if let Some(line) =
            fs::read_to_string(&status).unwrap_or_default().lines().find(|l| l.starts_with("VmHWM"))
        {
            peak = line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        }
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    println!("{what}: {:.1} s, at most {peak}", begun.elapsed().as_secs_f64());
    assert!(ended.success(), "{what}");
}

fn restore(bench: &Bench, target: &Path) -> Command {
    let mut command = bench.command("restore");
    command.arg("--target").arg(target);
    command
}

#[test]
#[ignore = "takes minutes; see the head of the file"]
fn large_numbers_of_small_files_come_back() {
    let files = asked("EBB_FILES", 1_000_000);
    let bench = Bench::new();
    let app = bench.root().join("workspaces/app");
    for number in 0..files {
        let directory = app.join(format!("{:04}", number / 500));
        if number % 500 == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        let text = format!("file {number}\n").repeat(1 + usize::try_from(number % 13).unwrap());
        fs::write(directory.join(format!("{number}.txt")), text).unwrap();
    }
    println!("{files} files");
    measured("first backup", &mut bench.backup_command());
    measured("nothing changed", &mut bench.backup_command());
    fs::write(app.join("0000/one-more"), "one more\n").unwrap();
    measured("one file more", &mut bench.backup_command());
    let target = bench.path("restored");
    measured("restore", &mut restore(&bench, &target));
    let same =
        Command::new("diff").args(["-r", "--brief"]).arg(&app).arg(target.join("workspaces/app")).status();
    assert!(same.unwrap().success(), "the trees differ");
}

#[test]
#[ignore = "takes minutes; see the head of the file"]
fn large_files_with_holes_come_back_with_holes() {
    let size = asked("EBB_GIGABYTES", 20) << 30;
    let bench = Bench::new();
    let app = bench.root().join("workspaces/app");
    fs::create_dir_all(&app).unwrap();
    let disk = fs::File::create(app.join("disk.img")).unwrap();
    disk.set_len(size).unwrap();
    let island = noise(3 << 20);
    let places: Vec<u64> = (0..8).map(|part| size / 8 * part + 12_345).collect();
    for place in &places {
        disk.write_all_at(&island, *place).unwrap();
    }
    println!("{size} bytes");
    measured("first backup", &mut bench.backup_command());
    measured("nothing changed", &mut bench.backup_command());
    let target = bench.path("restored");
    measured("restore", &mut restore(&bench, &target));
    let mut restored = fs::File::open(target.join("workspaces/app/disk.img")).unwrap();
    let meta = restored.metadata().unwrap();
    assert_eq!(meta.len(), size);
    // Each island may bring the rest of the pieces around it.
    assert!(meta.blocks() * 512 < 8 * (20 << 20), "{} blocks", meta.blocks());
    for place in places {
        let mut found = vec![0; island.len()];
        restored.seek(SeekFrom::Start(place)).unwrap();
        restored.read_exact(&mut found).unwrap();
        assert!(found == island, "at {place}");
    }
}

#[test]
#[ignore = "takes minutes, root, FUSE and room on disk; see the head of the file"]
fn one_large_file_that_nothing_compresses_comes_back() {
    let size = asked("EBB_GIGABYTES", 20) * 1_000_000_000;
    let bench = Bench::new();
    bench.server.keep_large_in(bench.path("store"));
    let app = bench.root().join("workspaces/app");
    fs::create_dir_all(&app).unwrap();
    let source = NoiseFile::mount(&app.join("noise"), size);
    println!("{size} bytes");
    let backup = || {
        let mut command = bench.backup_command();
        // It is a mount, which would be left out if anybody knew of it.
        command.args(["--mounts", "/dev/null"]);
        command
    };
    measured("first backup", &mut backup());
    measured("nothing changed", &mut backup());
    fs::write(app.join("one-more"), "one more\n").unwrap();
    measured("one file more", &mut backup());
    drop(source);
    bench.server.forget_large_once_read();
    let target = bench.path("restored");
    measured("restore", &mut restore(&bench, &target));
    let mut restored = fs::File::open(target.join("workspaces/app/noise")).unwrap();
    assert_eq!(restored.metadata().unwrap().len(), size);
    let (mut found, mut wanted) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for offset in (0..size).step_by(1 << 20) {
        let length = found.len().min(usize::try_from(size - offset).unwrap());
        noise_at(offset, &mut wanted[..length]);
        restored.read_exact(&mut found[..length]).unwrap();
        assert!(found[..length] == wanted[..length], "at {offset}");
    }
}
