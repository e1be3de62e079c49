//! Compiles the filters with clang, and writes down what the loader needs of each: its instructions, and which of them want
//! the descriptor of which map.

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Name in Rust, section in the object.
const PROGRAMS: [(&str, &str); 2] = [("ACCEPT", "tc_accept"), ("SEND", "tc_send")];

fn main() {
    println!("cargo:rerun-if-changed=src/ipip.c");
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let compiled = folder.join("ipip.o");
    let mark = format!("-DMARK={}", kernel::filter::ACCEPTED);
    let flags =
        ["-target", "bpf", "-O2", "-nostdinc", "-Wall", "-Wextra", "-Werror", "-c", "src/ipip.c", "-o"];
    match Command::new("clang").arg(mark).args(flags).arg(&compiled).status() {
        Err(error) => {
            panic!(
                "cannot run clang ({error}): `./dev setup` installs it (Debian, Ubuntu: apt-get install clang)"
            )
        }
        Ok(status) => assert!(status.success(), "clang refuses src/ipip.c: its message is above"),
    }
    let bytes = fs::read(&compiled).expect("clang wrote the object");
    let object = object::File::parse(&*bytes).expect("clang wrote an ELF object");
    let mut text = String::new();
    for (name, section) in PROGRAMS {
        text += &program(&object, &folder, name, section);
    }
    fs::write(folder.join("programs.rs"), text).expect("OUT_DIR is ours");
}

fn program(object: &object::File<'_>, folder: &std::path::Path, name: &str, section: &str) -> String {
    let section = object.section_by_name(section).expect("every program has its section");
    let code = folder.join(format!("{name}.insns"));
    fs::write(&code, section.data().expect("a section of code has bytes")).expect("OUT_DIR is ours");
    let maps: Vec<String> = section
        .relocations()
        .map(|(offset, relocation)| {
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                panic!("a relocation that names no map")
            };
            let symbol =
                object.symbol_by_index(symbol).and_then(|symbol| symbol.name()).expect("a map has a name");
            format!("({}, Map::of({symbol:?}))", offset / 8)
        })
        .collect();
    format!(
        "static {name}: Code = Code {{ instructions: include_bytes!({code:?}), maps: &[{}] }};\n",
        maps.join(", ")
    )
}
