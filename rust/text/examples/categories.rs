//! Prints `src/categories.txt`: the general category of every code point, and whether `\s` takes it, as the reference's
//! regular expressions have them.
//!
//!     cargo run -p fastft-text --example categories > rust/text/src/categories.txt

use tokenizers::utils::SysRegex;

const CATEGORIES: [&str; 30] = [
    "Cc", "Cf", "Cn", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd", "Nl", "No", "Pc",
    "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs",
];

fn main() {
    let all: String = ('\0'..=char::MAX).collect();
    let mut kinds = vec![String::new(); 0x11_0000];
    let mut mark = |pattern: &str, name: &str| {
        let regex = SysRegex::new(pattern).expect("a pattern");
        for (from, to) in regex.find_iter(&all) {
            for c in all[from..to].chars() {
                kinds[c as usize].push_str(name);
            }
        }
    };
    for name in CATEGORIES {
        mark(&format!(r"\p{{{name}}}+"), name);
    }
    mark(r"\s+", "s");
    println!(
        "# Start of each run of code points, its general category, `s` for white space; made by examples/categories.rs"
    );
    let mut last = "";
    for (point, kind) in kinds.iter().enumerate().filter(|(point, _)| !(0xd800..0xe000).contains(point)) {
        if kind != last {
            println!("{point:X} {kind}");
            last = kind;
        }
    }
}
