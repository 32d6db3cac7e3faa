//! Writes every page with sample data into a directory, for looking at:
//! `cargo run -p ebbtide-dashboard --example preview -- DIR`.

#[path = "../tests/sample/mod.rs"]
#[allow(dead_code)]
mod sample;

use ebbtide_dashboard::asset::Asset;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: preview DIR");
        std::process::exit(2);
    };
    std::fs::create_dir_all(directory.join("static"))?;
    for file in Asset::ALL {
        std::fs::write(directory.join(file.path.trim_start_matches('/')), file.text)?;
    }
    for (name, html) in sample::pages() {
        // Opened from disk, so paths of the site become relative ones.
        let html = html.replace("=\"/static/", "=\"static/");
        std::fs::write(directory.join(format!("{name}.html")), html)?;
        println!("{}", directory.join(format!("{name}.html")).display());
    }
    Ok(())
}
