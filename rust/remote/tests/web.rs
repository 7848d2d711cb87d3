//! Files of a web server on loopback: whole, gone on with, refused, stopped.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fastft_remote::{Counters, Found, Kind, Options, RemoteError, fetch, look};

const OPTIONS: Options = Options { attempts: 3, pause: Duration::from_millis(1), piece_bytes: 1000 };

/// What the server does.
#[derive(Default)]
struct Behaviour {
    content: Vec<u8>,
    etag: Option<&'static str>,
    no_ranges: bool,
    no_head: bool,
    /// Statuses that are answered first.
    statuses: VecDeque<u16>,
    /// After how many bytes answers break off.
    cuts: VecDeque<usize>,
    /// Requests for content, with the range.
    asked: Vec<Option<(usize, usize)>>,
}

/// A server of one file.
struct Web {
    url: String,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Web {
    fn new(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/deep/rows.jsonl", listener.local_addr().unwrap());
        let behaviour = Arc::new(Mutex::new(behaviour));
        let shared = Arc::clone(&behaviour);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, behaviour }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Behaviour) -> T) -> T {
        change(&mut self.behaviour.lock().unwrap())
    }
}

/// One request on one connection.
fn serve(mut stream: TcpStream, shared: &Mutex<Behaviour>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head = lines.next().unwrap_or_default().starts_with("HEAD");
    let mut range = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some((first, last)) =
            line.to_ascii_lowercase().strip_prefix("range: bytes=").and_then(|range| range.split_once('-'))
        {
            range = Some((first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap() + 1));
        }
    }
    let mut behaviour = shared.lock().unwrap();
    let status = if head && behaviour.no_head { Some(405) } else { behaviour.statuses.pop_front() };
    if let Some(status) = status {
        let _ = write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    let size = behaviour.content.len();
    let (first, last) = range.filter(|_| !behaviour.no_ranges).unwrap_or((0, size));
    let last = last.min(size);
    let begin = if range.is_some() && !behaviour.no_ranges {
        format!("HTTP/1.1 206 Part\r\nContent-Range: bytes {first}-{}/{size}\r\n", last - 1)
    } else {
        "HTTP/1.1 200 OK\r\n".to_owned()
    };
    let etag = behaviour.etag.map(|etag| format!("ETag: \"{etag}\"\r\n")).unwrap_or_default();
    let length = last - first;
    let answer = format!("{begin}{etag}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let mut body = behaviour.content[first..last].to_vec();
    if !head {
        behaviour.asked.push(range);
        if let Some(cut) = behaviour.cuts.pop_front() {
            body.truncate(cut);
        }
    }
    drop(behaviour);
    let _ = stream.write_all(answer.as_bytes());
    if !head {
        let _ = stream.write_all(&body);
    }
}

/// Look and fetch: what was found, and the bytes that were counted.
fn bring(url: &str, target: &Path) -> Result<(Found, u64), RemoteError> {
    let (bytes, cancelled) = (AtomicU64::new(0), AtomicBool::new(false));
    let counters = Counters { bytes: &bytes, cancelled: &cancelled };
    let found = look(url, &OPTIONS, &counters)?.remove(0);
    fetch(&found, target, &OPTIONS, &counters)?;
    Ok((found, bytes.into_inner()))
}

fn content() -> Vec<u8> {
    (0..5300u32).map(|at| (at * 7 % 251) as u8).collect()
}

/// Only the file itself is in its folder.
fn alone(target: &Path) -> bool {
    std::fs::read_dir(target.parent().unwrap()).unwrap().count() == 1
}

#[test]
fn a_file_comes_whole_from_servers_of_all_kinds() {
    for (no_ranges, no_head, etag) in
        [(false, false, Some("a")), (true, false, Some("a")), (false, true, None), (true, true, None)]
    {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        let web =
            Web::new(Behaviour { content: content(), etag, no_ranges, no_head, ..Behaviour::default() });
        let (found, bytes) = bring(&web.url, &target).unwrap();
        assert_eq!((found.name.as_str(), found.size, bytes), ("rows.jsonl", Some(5300), 5300));
        assert_eq!(std::fs::read(&target).unwrap(), content());
        assert!(alone(&target));
    }
}

#[test]
fn what_breaks_off_is_asked_for_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("f");
    let cuts = VecDeque::from([10, 0, 999, 500]);
    let web = Web::new(Behaviour { content: content(), etag: Some("a"), cuts, ..Behaviour::default() });
    assert_eq!(bring(&web.url, &target).unwrap().1, 5300);
    assert_eq!(std::fs::read(&target).unwrap(), content());
    let asked: usize =
        web.with(|behaviour| behaviour.asked.iter().flatten().map(|(from, to)| to - from).sum());
    assert!(asked < 5300 + 4000, "rests only are asked for again, not {asked} bytes");
}

#[test]
fn a_later_fetch_goes_on_when_the_etag_is_the_same_and_begins_anew_else() {
    for etag in ["a", "b"] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        let web = Web::new(Behaviour { content: content(), etag: Some("a"), ..Behaviour::default() });
        // four pieces are asked for together; the fifth, which breaks off, when one of them is there
        web.with(|behaviour| behaviour.cuts = [1000; 4].into_iter().chain([0; 40]).collect());
        let error = bring(&web.url, &target).unwrap_err();
        assert_eq!(error.kind, Kind::Network, "{error}");
        assert!(error.message.contains("3 attempts") && !target.exists());
        let journal = std::fs::read_to_string(folder.path().join("f.journal")).unwrap();
        let there = journal.lines().count() - 1;
        assert!(there > 0);
        // another server, as the first may still be asked by what broke off
        let web = Web::new(Behaviour { content: content(), etag: Some(etag), ..Behaviour::default() });
        bring(&web.url, &target).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), content());
        assert!(alone(&target));
        let asked = web.with(|behaviour| behaviour.asked.len());
        assert_eq!(asked, if etag == "a" { 6 - there } else { 6 });
    }
}

#[test]
fn statuses_that_pass_are_asked_again_and_others_told() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("f");
    let web = Web::new(Behaviour { content: content(), etag: Some("a"), ..Behaviour::default() });
    web.with(|behaviour| behaviour.statuses = [503, 429].into());
    bring(&web.url, &target).unwrap();
    for (status, kind) in
        [(404, Kind::NotFound), (410, Kind::NotFound), (503, Kind::Network), (418, Kind::Refused)]
    {
        web.with(|behaviour| behaviour.statuses = [status; 3].into());
        let error = bring(&web.url, &target).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(&web.url) && error.message.contains(&status.to_string()));
        web.with(|behaviour| behaviour.statuses.clear());
    }
    web.with(|behaviour| behaviour.statuses = [403; 3].into());
    let error = bring(&web.url, &target).unwrap_err();
    assert!(error.kind == Kind::Credentials && error.hint().is_some());
}

#[test]
fn a_file_that_changes_between_look_and_fetch_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("f");
    let web = Web::new(Behaviour { content: content(), etag: Some("a"), ..Behaviour::default() });
    let (bytes, cancelled) = (AtomicU64::new(0), AtomicBool::new(false));
    let counters = Counters { bytes: &bytes, cancelled: &cancelled };
    let found = look(&web.url, &OPTIONS, &counters).unwrap().remove(0);
    web.with(|behaviour| behaviour.etag = Some("b"));
    let error = fetch(&found, &target, &OPTIONS, &counters).unwrap_err();
    assert!(error.kind == Kind::Changed && !target.exists(), "{error}");
}

#[test]
fn who_says_stop_is_heard() {
    let web = Web::new(Behaviour { content: content(), etag: Some("a"), ..Behaviour::default() });
    web.with(|behaviour| behaviour.statuses = [503; 1000].into());
    let (bytes, cancelled) = (AtomicU64::new(0), AtomicBool::new(false));
    let counters = Counters { bytes: &bytes, cancelled: &cancelled };
    cancelled.store(true, Ordering::Relaxed);
    let patient = Options { attempts: 1000, pause: Duration::from_secs(600), ..OPTIONS };
    assert_eq!(look(&web.url, &patient, &counters).unwrap_err().kind, Kind::Cancelled);
}

#[test]
fn a_pattern_of_a_web_server_is_refused_with_a_way_out() {
    let (bytes, cancelled) = (AtomicU64::new(0), AtomicBool::new(false));
    let counters = Counters { bytes: &bytes, cancelled: &cancelled };
    let error = look("http://127.0.0.1:9/*.jsonl", &OPTIONS, &counters).unwrap_err();
    assert!(error.kind == Kind::NoListing && error.hint().unwrap().contains("s3://"));
}
