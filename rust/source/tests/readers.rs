//! Readers against definitions: a plain split of the text, another CSV reader, and the arrays that were written.

use std::io::Write;
use std::path::{Path, PathBuf};

use fastft_source::{
    Compression, DataFile, Layout, SourceError, Span, TextUnit, count_lines, detect, read, spans,
};
use proptest::prelude::*;
use serde_json::Value;

/// A file that is gone with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fastft readers {} {number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn file(&self) -> DataFile {
        DataFile::open(&self.0, TextUnit::Line).unwrap().0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

type Found = (u64, String, Option<String>);

/// (line, bytes, fault) of each row, and the error that ended the reading.
fn rows(file: &DataFile, span: &Span, chunk_bytes: usize) -> (Vec<Found>, Option<SourceError>) {
    let mut found = Vec::new();
    for chunk in read(file, span, chunk_bytes).unwrap() {
        match chunk {
            Ok(chunk) => found.extend(chunk.rows.iter().map(|row| {
                let text = String::from_utf8_lossy(chunk.bytes(row)).into_owned();
                (row.line, text, row.fault.as_ref().map(|fault| fault.reason.clone()))
            })),
            Err(error) => return (found, Some(error)),
        }
    }
    (found, None)
}

fn all(file: &DataFile) -> Vec<Found> {
    let (found, error) = rows(file, &Span::Whole, 1 << 20);
    assert!(error.is_none(), "{error:?}");
    found
}

/// All spans one after the other, with lines of the file.
fn by_spans(file: &DataFile, spans: &[Span], chunk_bytes: usize) -> Vec<Found> {
    let mut found = Vec::new();
    let mut before = 0;
    for span in spans {
        found.extend(
            rows(file, span, chunk_bytes)
                .0
                .into_iter()
                .map(|(line, text, fault)| (before + line, text, fault)),
        );
        before += count_lines(file, span).unwrap();
    }
    found
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn text() -> impl Strategy<Value = String> {
    let lines = prop::collection::vec("[a-cé \u{feff}\r]{0,9}", 0..40);
    (lines, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(lines, bom, crlf, ends)| {
        let newline = if crlf { "\r\n" } else { "\n" };
        let mut text = lines.join(newline);
        if ends {
            text += newline;
        }
        if bom { format!("\u{feff}{text}") } else { text }
    })
}

/// What lines are, said in one place without blocks or spans.
fn definition(text: &str) -> Vec<Found> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines =
        text.split('\n').zip(1..).map(|(line, number)| (number, line.trim_ascii_end().to_owned(), None));
    lines.filter(|(_, line, _)| !line.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn spans_one_after_the_other_are_the_file(text in text(), unit in 1u64..60, chunk in 1usize..40) {
        let temporary = Temporary::new("a.txt", text.as_bytes());
        let file = temporary.file();
        let want = definition(&text);
        prop_assert_eq!(&rows(&file, &Span::Whole, chunk).0, &want);
        let cut = spans(&file, unit).unwrap();
        prop_assert_eq!(by_spans(&file, &cut, chunk), want.clone());
        let last = cut.last().cloned();
        let ends = matches!(last, Some(Span::Bytes { end, .. }) if end == file.bytes);
        prop_assert!(ends);
        // spans that begin anywhere, too
        let at = |at: u64| at.min(file.bytes);
        let loose: Vec<Span> = (0..=file.bytes / unit)
            .map(|number| Span::Bytes { start: at(number * unit), end: at((number + 1) * unit) })
            .collect();
        prop_assert_eq!(by_spans(&file, &loose, chunk), want.clone());
        for (name, packed) in [("a.txt.gz", gzip(text.as_bytes())), ("a.txt.zst", zstandard(text.as_bytes()))] {
            let temporary = Temporary::new(name, &packed);
            prop_assert_eq!(&rows(&temporary.file(), &Span::Whole, chunk).0, &want);
        }
    }

    #[test]
    fn tables_are_read_as_another_reader_reads_them(
        records in prop::collection::vec(prop::collection::vec("[a,\"\r\né ]{0,6}", 3), 0..12),
        chunk in 1usize..60,
    ) {
        let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
        writer.write_record(["x", "y \"z\"", "né"]).unwrap();
        for record in &records {
            writer.write_record(record).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let temporary = Temporary::new("a.csv", &bytes);
        let file = DataFile { layout: Layout::Csv { delimiter: b',' }, ..temporary.file() };
        let found = rows(&file, &Span::Whole, chunk).0;
        let mut line = 2;
        prop_assert_eq!(found.len(), records.len());
        for ((at, json, fault), record) in found.iter().zip(&records) {
            prop_assert_eq!(fault, &None);
            prop_assert_eq!(*at, line);
            let want = serde_json::json!({"x": record[0], "y \"z\"": record[1], "né": record[2]});
            prop_assert_eq!(serde_json::from_str::<Value>(json).unwrap(), want);
            line += 1 + record.iter().map(|field| field.matches('\n').count() as u64).sum::<u64>();
        }
    }

    #[test]
    fn any_bytes_of_a_table_end(bytes in prop::collection::vec(prop::sample::select(b"a,\t\"\r\n \xff".to_vec()), 0..60), tabs: bool) {
        let temporary = Temporary::new("a.csv", &bytes);
        let delimiter = if tabs { b'\t' } else { b',' };
        let file = DataFile { layout: Layout::Csv { delimiter }, ..temporary.file() };
        let (whole, error) = rows(&file, &Span::Whole, 1 << 20);
        let (cut, other) = rows(&file, &Span::Whole, 1);
        prop_assert_eq!(&whole, &cut);
        prop_assert_eq!(error.map(|error| error.to_string()), other.map(|error| error.to_string()));
        prop_assert!(whole.len() <= bytes.len());
    }
}

#[test]
fn a_record_of_tabs_alone_is_one_at_the_end_of_the_file_too() {
    for text in ["a\tb\n\t\n1\t2\n", "a\tb\n1\t2\n\t\n\n", "a\tb\n1\t2\n\t"] {
        let temporary = Temporary::new("a.tsv", text.as_bytes());
        let file = DataFile { layout: Layout::Csv { delimiter: b'\t' }, ..temporary.file() };
        let empty = "{\"a\": \"\", \"b\": \"\"}";
        assert_eq!(all(&file).iter().filter(|(_, row, _)| row == empty).count(), 1, "{text:?}");
    }
}

#[test]
fn records_that_are_none_are_told_with_their_line() {
    let text = "a,b\n1,2\n3\n\n\"x\ny\",5,6\n\"7\"8,9\n10,\"11\n12,13\n";
    let temporary = Temporary::new("a.csv", text.as_bytes());
    let found = all(&temporary.file());
    let told: Vec<(u64, &str, Option<&str>)> =
        found.iter().map(|(line, text, fault)| (*line, text.as_str(), fault.as_deref())).collect();
    assert_eq!(
        told,
        [
            (2, "{\"a\": \"1\", \"b\": \"2\"}", None),
            (3, "3", Some("the record has 1 fields, the header 2")),
            (5, "\"x\ny\",5,6", Some("the record has 3 fields, the header 2")),
            (7, "\"7\"8,9", Some("text follows a closing quote in the record that begins here")),
            (8, "10,\"11", Some("a quote that opens in this line does not close")),
            (9, "{\"a\": \"12\", \"b\": \"13\"}", None),
        ]
    );
    let twice = Temporary::new("a.csv", b"a,a\n1,2\n");
    let error = rows(&twice.file(), &Span::Whole, 1 << 20).1.unwrap().to_string();
    assert!(error.contains("the header names `a` twice"), "{error}");
    let old = Temporary::new("a.csv", b"a,b\r1,2\r3,4\r");
    let (found, error) = rows(&old.file(), &Span::Whole, 1 << 20);
    assert!(found.is_empty() && error.unwrap().to_string().contains("convert them to LF"));
    let chunk =
        fastft_source::read(&temporary.file(), &Span::Whole, 1 << 20).unwrap().next().unwrap().unwrap();
    let codes: Vec<_> = chunk.rows.iter().filter_map(|row| Some(row.fault.as_ref()?.code.as_str())).collect();
    assert_eq!(codes, ["E_CSV"; 4]);
}

#[test]
fn units_of_text_differ_and_keep_their_lines() {
    let temporary = Temporary::new("a.txt.gz", &gzip("\u{feff}one\ntwo\r\n\n\nthree\n".as_bytes()));
    let found = |unit| {
        let (file, _) = DataFile::open(&temporary.0, unit).unwrap();
        assert_eq!(spans(&file, 1).unwrap(), [Span::Whole]);
        for chunk in [1, 7] {
            assert_eq!(rows(&file, &Span::Whole, chunk).0, all(&file));
        }
        all(&file).into_iter().map(|(line, text, _)| (line, text)).collect::<Vec<_>>()
    };
    assert_eq!(found(TextUnit::Line), [(1, "one".into()), (2, "two".into()), (5, "three".into())]);
    assert_eq!(found(TextUnit::Paragraph), [(1, "one\ntwo".into()), (5, "three".into())]);
    assert_eq!(found(TextUnit::File), [(1, "one\ntwo\r\n\n\nthree".into())]);
}

#[test]
fn rows_of_an_array_know_their_lines() {
    let temporary = Temporary::new("a.json", "\u{feff}[\n{\"a\": 1},\n\n{\"a\": 2}\n]".as_bytes());
    let found = all(&temporary.file());
    assert_eq!(found, [(2, "{\"a\": 1}".into(), None), (4, "{\"a\": 2}".into(), None)]);
    assert_eq!(rows(&temporary.file(), &Span::Whole, 1).0, found);
}

#[test]
fn packed_files_may_have_many_parts() {
    let (one, two) = (b"{\"a\": 1}\n{\"a\"", b": 2}\n");
    for (name, bytes, compression) in [
        ("a.jsonl.gz", [gzip(one), gzip(two)].concat(), Compression::Gzip),
        ("a.jsonl.zst", [zstandard(one), zstandard(two)].concat(), Compression::Zstd),
    ] {
        let temporary = Temporary::new(name, &bytes);
        assert_eq!(detect(&temporary.0, TextUnit::Line).unwrap().compression, compression);
        assert_eq!(count_lines(&temporary.file(), &Span::Whole).unwrap(), 2);
        let found = all(&temporary.file());
        assert_eq!(found, [(1, "{\"a\": 1}".into(), None), (2, "{\"a\": 2}".into(), None)]);
    }
}

#[test]
fn a_file_that_breaks_off_gives_its_rows_and_then_an_error_with_its_name() {
    let scattered = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let lines: Vec<String> =
        (0..20_000).map(|number| format!("{{\"number\": {}}}\n", scattered(number))).collect();
    let text = lines.concat();
    for (name, packed) in [("a.jsonl.gz", gzip(text.as_bytes())), ("a.jsonl.zst", zstandard(text.as_bytes()))]
    {
        let temporary = Temporary::new(name, &packed[..packed.len() / 2]);
        let (found, error) = rows(&temporary.file(), &Span::Whole, 1 << 12);
        assert!(found.len() > 1000, "{}", found.len());
        assert!(found.iter().zip(text.lines()).all(|(row, line)| row.1 == line));
        let error = error.expect("it breaks off").to_string();
        assert!(error.contains(name) && error.contains("damaged or incomplete"), "{error}");
    }
}

#[test]
fn a_file_that_changed_is_not_read() {
    let temporary = Temporary::new("a.jsonl", b"{\"a\": 1}\n");
    let file = temporary.file();
    std::fs::write(&temporary.0, b"{\"a\"").unwrap();
    let error = read(&file, &Span::Whole, 1 << 20).unwrap_err().to_string();
    assert!(error.contains("it had 9 bytes and has 4"), "{error}");
}

#[test]
fn a_file_cut_short_while_it_is_read_is_an_error_and_not_an_end() {
    let temporary = Temporary::new("a.jsonl", &b"{\"a\": 1}\n".repeat(1000));
    let mut chunks = read(&temporary.file(), &Span::Whole, 900).unwrap();
    assert_eq!(chunks.next().unwrap().unwrap().rows.len(), 100);
    std::fs::OpenOptions::new().write(true).open(&temporary.0).unwrap().set_len(1800).unwrap();
    let error = chunks.find_map(Result::err).expect("it was cut short").to_string();
    assert!(error.contains("cut short while it was read, 7200 bytes are missing"), "{error}");
    assert!(chunks.next().is_none());
}

#[test]
fn a_named_encoding_is_decoded_and_a_wrong_one_told() {
    let russian = b"\xcf\xf0\xe8\xe2\xe5\xf2\n\xec\xe8\xf0\n"; // in windows-1251
    let temporary = Temporary::new("a.txt", russian);
    let open = |label| DataFile::open_as(&temporary.0, &temporary.0, TextUnit::Line, label);
    let found = all(&open(Some("windows-1251")).unwrap().0);
    assert_eq!(found, [(1, "Привет".into(), None), (2, "мир".into(), None)]);
    assert!(open(Some("klingon")).unwrap_err().to_string().contains("`klingon`"));
    let wide: Vec<u8> = "\u{feff}{\"a\": \"é😀\"}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let temporary = Temporary::new("a.jsonl", &wide);
    assert!(detect(&temporary.0, TextUnit::Line).unwrap_err().to_string().contains("utf-16le"));
    let (file, _) = DataFile::open_as(&temporary.0, &temporary.0, TextUnit::Line, Some("utf-16le")).unwrap();
    assert_eq!((file.layout, all(&file)), (Layout::Jsonl, vec![(1, "{\"a\": \"é😀\"}".into(), None)]));
    // what the encoding does not have is no text, and is not replaced
    let temporary = Temporary::new("a.txt", b"good\n\x81\xff bad\n");
    let (file, _) = DataFile::open_as(&temporary.0, &temporary.0, TextUnit::Line, Some("gbk")).unwrap();
    let chunk = read(&file, &Span::Whole, 1 << 20).unwrap().next().unwrap().unwrap();
    assert!(std::str::from_utf8(chunk.bytes(&chunk.rows[1])).is_err());
}

#[test]
fn a_missing_file_is_named() {
    let error = detect(Path::new("nowhere.jsonl"), TextUnit::Line).unwrap_err().to_string();
    assert!(error.contains("nowhere.jsonl"), "{error}");
}
