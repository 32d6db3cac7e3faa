//! Takes the scripts of the terminal's page that are not ours, xterm.js and what belongs to it, from `node_modules`, and
//! packs them as browsers unpack them.

use flate2::{Compression, GzBuilder};
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Package and file of each part of the script, the ground first.
const SCRIPTS: [(&str, &str); 4] = [
    ("@xterm/xterm", "lib/xterm.js"),
    ("@xterm/addon-fit", "lib/addon-fit.js"),
    ("@xterm/addon-web-links", "lib/addon-web-links.js"),
    ("@xterm/addon-clipboard", "lib/addon-clipboard.js"),
];
/// Package and file of its style sheet.
const STYLE: (&str, &str) = ("@xterm/xterm", "css/xterm.css");

fn main() {
    if let Err(problem) = take() {
        println!("cargo::error={problem}");
    }
}

fn take() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let named = |(package, file): (&str, &str)| -> Result<String, Box<dyn Error>> {
        let file = ebbtide_npm_file::take(&root, package, file)?;
        Ok(format!("/*! {package} {}, MIT, the xterm.js authors */\n{}", file.version, file.text))
    };
    let script = SCRIPTS.into_iter().map(named).collect::<Result<String, _>>()?;
    fs::write(out.join("xterm.js.gz"), packed(&script)?)?;
    fs::write(out.join("xterm.css.gz"), packed(&named(STYLE)?)?)?;
    for ours in ["terminal.js", "terminal.css"] {
        let path = Path::new("src/terminal/page").join(ours);
        println!("cargo::rerun-if-changed={}", path.display());
        fs::write(out.join(format!("{ours}.gz")), packed(&fs::read_to_string(path)?)?)?;
    }
    Ok(())
}

/// Without a time stamp, so that the same files give the same program.
fn packed(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(text.as_bytes())?;
    Ok(gzip.finish()?)
}
