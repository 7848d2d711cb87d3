//! A file's content as a stream of UTF-8: a part of it, unpacked and decoded as it is read.
//!
//! Files are read and never mapped here, so that one that another process cuts short, or a network that fails, is an
//! error with a name and not the end of the process (SIGBUS). That a file still has the size it had when it was looked
//! at is checked on opening; that it ends early, while reading.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use flate2::read::MultiGzDecoder;

use crate::layout::{Compression, DataFile};
use crate::{BOM, SourceError};

/// Packed bytes that are read at once.
const BLOCK: usize = 1 << 20;
/// Windows of `zstd --long` up to 2 GB, the largest there is; a file takes what it was packed with.
const WINDOW_LOG: u32 = 31;

/// The encoding of a label; None for UTF-8, which needs no decoding.
pub fn encoding(path: &Path, label: &str) -> Result<Option<&'static Encoding>, SourceError> {
    let Some(encoding) = Encoding::for_label(label.as_bytes()) else {
        let found = format!(
            "said to be in `{label}`, which is no encoding; such are `windows-1251`, `gbk`, `utf-16le`"
        );
        return Err(SourceError::Unsupported { path: path.to_owned(), found });
    };
    Ok((encoding != UTF_8).then_some(encoding))
}

/// Open a file that must have the size it had.
pub fn open(file: &DataFile) -> Result<File, SourceError> {
    let io = |error| SourceError::Io { path: file.shown.clone(), error };
    let opened = File::open(&file.path).map_err(io)?;
    let is = opened.metadata().map_err(io)?.len();
    if is != file.bytes {
        return Err(SourceError::Changed { path: file.shown.clone(), was: file.bytes, is });
    }
    Ok(opened)
}

/// The content of a file from its byte `start` on (0 where it is packed or encoded).
pub fn content(file: &DataFile, start: u64) -> Result<Box<dyn Read + Send>, SourceError> {
    let io = |error| SourceError::Io { path: file.shown.clone(), error };
    let mut opened = open(file)?;
    if start > 0 {
        opened.seek(SeekFrom::Start(start)).map_err(io)?;
    }
    let plain = Whole { file: opened, left: file.bytes.saturating_sub(start) };
    let unpacked = unpack(plain, file.compression).map_err(io)?;
    Ok(match file.encoding {
        Some(encoding) => Box::new(Decoded::new(unpacked, encoding)),
        None => unpacked,
    })
}

/// Unpack a stream.
pub fn unpack<R: Read + Send + 'static>(
    input: R,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BLOCK, input))),
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(BLOCK, input))?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// Says how a stream failed: what is damaged is not what the system refuses.
pub fn failed(path: &Path, read: u64, error: io::Error) -> SourceError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::Other
            if error.raw_os_error().is_none() =>
        {
            SourceError::Damaged { path, reason: format!("{error} (after {read} bytes of content)") }
        }
        _ => SourceError::Io { path, error },
    }
}

/// A file that has to be as long as it was.
struct Whole {
    file: File,
    left: u64,
}

impl Read for Whole {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut into[..wanted])?;
        if read == 0 {
            let reason = format!("it was cut short while it was read, {} bytes are missing", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Packed bytes after which the size of the whole is told from that of a part.
const SAMPLE: u64 = 4 << 20;
/// Unpacked bytes after which it is told from what there is.
const SAMPLE_TEXT: u64 = 1 << 28;

/// About how many bytes a file has unpacked; exact where it is not packed, or small.
///
/// # Errors
/// When it can't be opened. Where it is damaged reading it will say.
pub fn unpacked_bytes(file: &DataFile) -> Result<u64, SourceError> {
    if file.compression == Compression::None {
        return Ok(file.bytes);
    }
    let read = Arc::new(AtomicU64::new(0));
    let plain = Counted { input: Whole { file: open(file)?, left: file.bytes }, read: Arc::clone(&read) };
    let mut unpacked = unpack(plain, file.compression)
        .map_err(|error| SourceError::Io { path: file.shown.clone(), error })?;
    let mut block = vec![0; 1 << 16];
    let (mut text, mut packed, mut behind) = (0u64, 0u64, None);
    while text < SAMPLE_TEXT && behind.is_none_or(|(_, packed)| packed < SAMPLE) {
        let Ok(count @ 1..) = unpacked.read(&mut block) else { return Ok(text) };
        text += count as u64;
        // Packed bytes are read in large blocks: when the next is read, those before it were used up.
        let now = read.load(Ordering::Relaxed);
        if now > packed && packed > 0 {
            behind = Some((text, packed));
        }
        packed = now;
    }
    let (text, packed) = behind.unwrap_or((text, packed));
    let whole = u128::from(text) * u128::from(file.bytes) / u128::from(packed.max(1));
    Ok(u64::try_from(whole).unwrap_or(u64::MAX))
}

/// Counts what is read.
struct Counted {
    input: Whole,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Turns another encoding into UTF-8. A sequence that is none becomes the byte 0xFF, which is never valid UTF-8: its row
/// is set aside as such instead of carrying a replacement that nobody asked for.
struct Decoded<R> {
    input: R,
    decoder: Decoder,
    raw: Vec<u8>,
    at: usize,
    ended: bool,
    ready: Vec<u8>,
    given: usize,
}

impl<R: Read> Decoded<R> {
    fn new(input: R, encoding: &'static Encoding) -> Self {
        let decoder = encoding.new_decoder_with_bom_removal();
        Self { input, decoder, raw: Vec::new(), at: 0, ended: false, ready: Vec::new(), given: 0 }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.given = 0;
        while self.ready.is_empty() && !(self.ended && self.at >= self.raw.len()) {
            if self.at >= self.raw.len() {
                self.raw.clear();
                self.at = 0;
                self.ended = (&mut self.input).take(BLOCK as u64).read_to_end(&mut self.raw)? == 0;
            }
            let mut text = vec![0; 4 * (self.raw.len() - self.at) + 16];
            let source = &self.raw[self.at..];
            let (result, read, written) =
                self.decoder.decode_to_utf8_without_replacement(source, &mut text, self.ended);
            self.at += read;
            self.ready.extend_from_slice(&text[..written]);
            match result {
                DecoderResult::Malformed(..) => self.ready.push(0xff),
                DecoderResult::InputEmpty if self.ended => break,
                DecoderResult::InputEmpty | DecoderResult::OutputFull => {}
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.given >= self.ready.len() {
            self.refill()?;
        }
        let count = into.len().min(self.ready.len() - self.given);
        into[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// The first bytes of a file's content, at most `most`; a packed file that breaks off gives what it has.
pub fn head(
    path: &Path,
    compression: Compression,
    encoding: Option<&'static Encoding>,
    most: usize,
) -> Result<Vec<u8>, SourceError> {
    let io = |error| SourceError::Io { path: path.to_owned(), error };
    let opened = File::open(path).map_err(io)?;
    let mut input = unpack(opened, compression).map_err(io)?;
    if let Some(encoding) = encoding {
        input = Box::new(Decoded::new(input, encoding));
    }
    let mut bytes = Vec::new();
    match input.take(most as u64).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(_) if !bytes.is_empty() => Ok(bytes), // reading it will say where it breaks off
        Err(error) => Err(failed(path, 0, error)),
    }
}

/// The content without the byte order mark that may open it.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}
