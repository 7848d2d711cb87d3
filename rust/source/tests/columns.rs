//! Columnar readers against the arrays that were written.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field};
use fastft_source::{DataFile, Layout, Span, TextUnit, count_lines, read, spans};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("fastft columns {}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn open(path: &std::path::Path) -> DataFile {
    DataFile::open(path, TextUnit::Line).unwrap().0
}

/// Ten rows of everything, from `first` on.
fn batch(first: i64) -> RecordBatch {
    let numbers = first..first + 10;
    let texts: StringArray = numbers.clone().map(|n| (n % 3 != 0).then(|| format!("é \"{n}\"\n"))).collect();
    let big: Int64Array = numbers.clone().map(|n| Some(i64::MAX - n)).collect();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
        numbers.clone().map(|n| (n % 4 != 0).then(|| vec![Some(i32::try_from(n).unwrap()), None])),
    );
    let turn = StructArray::from(vec![
        (Arc::new(Field::new("role", DataType::Utf8, true)), Arc::new(texts.clone()) as ArrayRef),
        (Arc::new(Field::new("size", DataType::Int64, true)), Arc::new(big.clone()) as ArrayRef),
    ]);
    let floats: Float64Array = numbers.clone().map(|n| Some(if n == 7 { f64::NAN } else { 0.1 })).collect();
    let time: TimestampMicrosecondArray = numbers.clone().map(|n| Some(n * 1_000_000)).collect();
    let money = Decimal128Array::from_iter_values(numbers.clone().map(|n| i128::from(n) * 1001 + 5))
        .with_precision_and_scale(38, 2)
        .unwrap();
    let bytes = BinaryArray::from_iter_values(numbers.clone().map(|n| vec![u8::try_from(n).unwrap(), 255]));
    let kinds: DictionaryArray<Int32Type> =
        numbers.map(|n| if n % 2 == 0 { "even" } else { "odd" }).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("text", Arc::new(texts) as ArrayRef, true),
        ("big", Arc::new(big), true),
        ("list", Arc::new(list), true),
        ("turn", Arc::new(turn), true),
        ("score", Arc::new(floats), true),
        ("time", Arc::new(time), true),
        ("money", Arc::new(money), true),
        ("bytes", Arc::new(bytes), true),
        ("kind", Arc::new(kinds), true),
    ])
    .unwrap()
}

fn want(n: i64) -> Value {
    let text = (n % 3 != 0).then(|| format!("é \"{n}\"\n"));
    let list = (n % 4 != 0).then(|| json!([n, null]));
    let base64 = ["AP8=", "Af8=", "Av8=", "A/8=", "BP8=", "Bf8=", "Bv8=", "B/8=", "CP8=", "Cf8="];
    json!({
        "text": text, "big": i64::MAX - n, "list": list, "turn": {"role": text, "size": i64::MAX - n},
        "score": if n == 7 { None } else { Some(0.1) }, "time": format!("1970-01-01T00:00:{n:02}"),
        "bytes": base64.get(usize::try_from(n).unwrap()), "kind": if n % 2 == 0 { "even" } else { "odd" },
    })
}

fn parquet(batches: &[RecordBatch], compression: Compression) -> Vec<u8> {
    let options = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(options)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
        writer.flush().unwrap(); // a row group each
    }
    writer.into_inner().unwrap()
}

fn arrow_file(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn arrow_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn rows(file: &DataFile, span: &Span, chunk_bytes: usize) -> Vec<(u64, String, Option<String>)> {
    let mut found = Vec::new();
    for chunk in read(file, span, chunk_bytes).unwrap() {
        let chunk = chunk.unwrap();
        found.extend(chunk.rows.iter().map(|row| {
            let text = String::from_utf8(chunk.bytes(row).to_vec()).unwrap();
            (row.line, text, row.fault.as_ref().map(|fault| fault.reason.clone()))
        }));
    }
    found
}

#[test]
fn every_kind_of_column_keeps_its_values() {
    let batches = [batch(0), batch(10), batch(20)];
    for (name, bytes, layout, pieces) in [
        ("snappy.parquet", parquet(&batches, Compression::SNAPPY), Layout::Parquet, 3),
        (
            "zstd.parquet",
            parquet(&batches, Compression::ZSTD(parquet::basic::ZstdLevel::default())),
            Layout::Parquet,
            3,
        ),
        (
            "gzip.parquet",
            parquet(&batches, Compression::GZIP(parquet::basic::GzipLevel::default())),
            Layout::Parquet,
            3,
        ),
        ("lz4.parquet", parquet(&batches, Compression::LZ4_RAW), Layout::Parquet, 3),
        (
            "brotli.parquet",
            parquet(&batches, Compression::BROTLI(parquet::basic::BrotliLevel::default())),
            Layout::Parquet,
            3,
        ),
        ("plain.arrow", arrow_file(&batches, None), Layout::ArrowFile, 3),
        ("lz4.feather", arrow_file(&batches, Some(CompressionType::LZ4_FRAME)), Layout::ArrowFile, 3),
        ("zstd.feather", arrow_file(&batches, Some(CompressionType::ZSTD)), Layout::ArrowFile, 3),
        (
            "packed.arrow.zst",
            zstd::encode_all(&*arrow_file(&batches, None), 1).unwrap(),
            Layout::ArrowFile,
            1,
        ),
        ("stream.arrow", arrow_stream(&batches), Layout::ArrowStream, 1),
        ("stream.arrow.zst", zstd::encode_all(&*arrow_stream(&batches), 1).unwrap(), Layout::ArrowStream, 1),
    ] {
        let file = open(&write(name, &bytes));
        assert_eq!(file.layout, layout, "{name}");
        let found = rows(&file, &Span::Whole, 1 << 20);
        assert_eq!(found.len(), 30, "{name}");
        for (n, (line, text, fault)) in (0..).zip(&found) {
            assert_eq!(*line, n + 1);
            let n = i64::try_from(n).unwrap();
            let money = format!("\"money\":{}.{:02},", (n * 1001 + 5) / 100, (n * 1001 + 5) % 100);
            assert!(text.contains(&money), "{name}: {text} has no {money}");
            let mut value: Value = serde_json::from_str(text).unwrap();
            value.as_object_mut().unwrap().remove("money");
            let mut want = want(n);
            if n > 9 {
                want["bytes"] = value["bytes"].clone();
            }
            assert_eq!(value, want, "{name}");
            let reason = "a column of this row holds NaN, which JSON can't carry";
            assert_eq!(fault.as_deref(), (n == 7).then_some(reason));
        }
        // any chunk, any span
        assert_eq!(rows(&file, &Span::Whole, 1), found, "{name}");
        let cut = spans(&file, 1).unwrap();
        assert_eq!(cut.len(), pieces, "{name}");
        let mut whole = Vec::new();
        for span in &cut {
            let before = whole.len() as u64;
            whole.extend(
                rows(&file, span, 64).into_iter().map(|(line, text, fault)| (before + line, text, fault)),
            );
            assert_eq!(count_lines(&file, span).unwrap(), whole.len() as u64 - before, "{name}");
        }
        assert_eq!(whole, found, "{name}");
        assert_eq!(spans(&file, 1 << 40).unwrap().len(), 1);
    }
}

#[test]
fn a_damaged_file_is_an_error_with_its_name_and_never_a_silent_end() {
    let batches: Vec<RecordBatch> = (0..20).map(|number| batch(number * 10)).collect();
    for (name, bytes) in [
        ("cut.parquet", parquet(&batches, Compression::SNAPPY)),
        ("cut.feather", arrow_file(&batches, None)),
        ("cut.stream.arrow", arrow_stream(&batches)),
    ] {
        let path = write(name, &bytes[..bytes.len() / 2]);
        let file = open(&path);
        let result: Result<Vec<_>, _> = read(&file, &Span::Whole, 1 << 10).and_then(Iterator::collect);
        let error = result.expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("damaged or incomplete"), "{error}");
    }
}

#[test]
fn bytes_that_were_changed_never_end_the_process() {
    let batches = [batch(0), batch(10)];
    let sound = [parquet(&batches, Compression::SNAPPY), arrow_file(&batches, None), arrow_stream(&batches)];
    let mut random = 88_172_645_463_325_252_u64;
    for (kind, bytes) in sound.iter().enumerate() {
        for _ in 0..150 {
            let mut bytes = bytes.clone();
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = usize::try_from(random % bytes.len() as u64).unwrap();
                bytes[at] = random.to_le_bytes()[5];
            }
            let path = write(&format!("changed-{kind}.parquet"), &bytes);
            let Ok((file, _)) = DataFile::open(&path, TextUnit::Line) else { continue };
            let _ = spans(&file, 1);
            let Ok(chunks) = read(&file, &Span::Whole, 1 << 10) else { continue };
            for chunk in chunks.take(1000) {
                if chunk.is_err() {
                    break;
                }
            }
        }
    }
}

#[test]
fn columns_of_one_name_are_refused() {
    let column = |value| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("a", column(1)), ("a", column(2))]).unwrap();
    let file = open(&write("twice.arrow", &arrow_stream(&[batch])));
    let error = read(&file, &Span::Whole, 1 << 10).unwrap_err().to_string();
    assert!(error.contains("two are named `a`"), "{error}");
}
