//! Downloads from servers that cut, corrupt, stall and refuse: good files in place, or a clear error and none.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;

/// What a server does with a request, after it has read the head.
enum Answer {
    /// This text, as it is.
    Says(&'static str),
    /// 200 or, from this byte on, 206; the length is the true one, but it hangs up after so many bytes.
    Sends { from: usize, n_bytes: usize },
    /// 200 and the file with one bit changed.
    Corrupts,
    /// Nothing for as long as the client waits.
    Waits,
    /// 200, and a byte every 50 ms.
    Trickles,
    /// 200, and no end.
    Floods,
}
use Answer::{Corrupts, Floods, Says, Sends, Trickles, Waits};

const WHOLE: Answer = Sends { from: 0, n_bytes: usize::MAX };

/// Incompressible, so that a download has a middle to break in.
fn file() -> Vec<u8> {
    let mut state = 1_u32;
    let content: Vec<u8> = (0..300_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    gzip(&content)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A server on this machine that gives these answers in turn; its thread returns the heads of the requests.
fn serve(answers: Vec<Answer>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://name:secret@{}/data/", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            heads.push(head.join("\n").to_lowercase());
            // A client that hangs up is no fault of the server.
            let _ = give(answer, &mut stream);
        }
        heads
    });
    (url, thread)
}

fn give(answer: Answer, stream: &mut std::net::TcpStream) -> io::Result<()> {
    let body = file();
    let ok =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    match answer {
        Says(text) => stream.write_all(text.as_bytes()),
        Sends { from, n_bytes } => {
            let rest = &body[from..];
            let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n", rest.len())?;
            stream.write_all(b"Connection: close\r\n\r\n")?;
            stream.write_all(&rest[..n_bytes.min(rest.len())])
        }
        Corrupts => {
            let mut wrong = body.clone();
            wrong[body.len() / 2] ^= 1;
            stream.write_all(ok.as_bytes())?;
            stream.write_all(&wrong)
        }
        Waits => io::copy(stream, &mut io::sink()).map(drop),
        Trickles => {
            stream.write_all(ok.as_bytes())?;
            loop {
                stream.write_all(&body[..1])?;
                thread::sleep(Duration::from_millis(50));
            }
        }
        Floods => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[0; 1 << 16])?;
            }
        }
    }
}

/// Downloads the first of the four files; the other three are there.
fn download(folder: &Path, mirrors: &[&str]) -> Result<()> {
    download_within(Duration::from_secs(60), folder, mirrors)
}

fn download_within(patience: Duration, folder: &Path, mirrors: &[&str]) -> Result<()> {
    for name in &FILES[1..] {
        fs::write(folder.join(format!("{name}.gz")), file()).unwrap();
    }
    let dataset = Dataset {
        mirrors: mirrors.iter().map(ToString::to_string).collect(),
        hashed: Hashed::Packed,
        checksums: FILES.map(|_| sha256(&file()[..]).unwrap()),
    };
    Download { agent: agent(patience, None), dataset, patience }.all(folder)
}

fn target(folder: &TempDir) -> PathBuf {
    folder.path().join("train-images-idx3-ubyte.gz")
}

/// The good file is in place, and nothing that was not there before but it.
#[track_caller]
fn assert_in_place(folder: &TempDir) {
    assert!(fs::read(target(folder)).unwrap() == file(), "other bytes than the server's");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 4);
}

/// An error that says all of this, and no file.
#[track_caller]
fn assert_nothing_in_place(folder: &TempDir, done: Result<()>, says: &[&str]) {
    let error = format!("{:#}", done.unwrap_err());
    for words in says {
        assert!(error.contains(words), "{words:?} is missing in: {error}");
    }
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 3);
}

#[test]
fn a_good_server_is_asked_once() {
    let (folder, (url, server)) = (tempfile::tempdir().unwrap(), serve(vec![WHOLE]));
    download(folder.path(), &[&url]).unwrap();
    assert_in_place(&folder);
    let heads = server.join().unwrap();
    assert!(heads[0].starts_with("get /data/train-images-idx3-ubyte.gz http/1.1"), "{}", heads[0]);
}

#[test]
fn a_wrong_checksum_is_an_error_and_leaves_no_file() {
    let (folder, (url, _)) = (tempfile::tempdir().unwrap(), serve(vec![Corrupts]));
    let done = download(folder.path(), &[&url]);
    let files = "t10k-labels-idx1-ubyte.gz";
    assert_nothing_in_place(
        &folder,
        done,
        &["SHA-256", "By hand", files, "download NAME --mirror"],
    );
}

#[test]
fn the_next_mirror_is_asked_when_one_fails() {
    let not_found =
        Says("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    for bad in [not_found, Says(""), Corrupts, Sends { from: 0, n_bytes: 10 }, Floods] {
        let (folder, (bad, _), (good, _)) =
            (tempfile::tempdir().unwrap(), serve(vec![bad]), serve(vec![WHOLE]));
        download(folder.path(), &[&bad, &good]).unwrap();
        assert_in_place(&folder);
    }
}

#[test]
fn a_server_that_is_silent_or_next_to_silent_is_left() {
    for slow in [Waits, Trickles] {
        let (folder, (slow, _), (good, _)) =
            (tempfile::tempdir().unwrap(), serve(vec![slow]), serve(vec![WHOLE]));
        let patience = Duration::from_secs(2);
        download_within(patience, folder.path(), &[&slow, &good]).unwrap();
        assert_in_place(&folder);
    }
}

#[test]
fn a_cut_transfer_is_an_error_and_leaves_no_file() {
    let cut = Sends { from: 0, n_bytes: 200_000 };
    let again = Sends { from: 200_000, n_bytes: 0 };
    let (folder, (url, _)) = (tempfile::tempdir().unwrap(), serve(vec![cut, again]));
    assert_nothing_in_place(
        &folder,
        download(folder.path(), &[&url]),
        &["broke after 200000 bytes"],
    );
}

#[test]
fn a_cut_transfer_goes_on_where_it_broke() {
    let answers = vec![
        Sends { from: 0, n_bytes: 100_000 },
        Sends { from: 100_000, n_bytes: 100_000 },
        Sends { from: 200_000, n_bytes: usize::MAX },
    ];
    let (folder, (url, server)) = (tempfile::tempdir().unwrap(), serve(answers));
    download(folder.path(), &[&url]).unwrap();
    assert_in_place(&folder);
    assert!(server.join().unwrap()[2].contains("range: bytes=200000-"));
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let answers = vec![Sends { from: 0, n_bytes: 100_000 }, WHOLE];
    let (folder, (url, _)) = (tempfile::tempdir().unwrap(), serve(answers));
    download(folder.path(), &[&url]).unwrap();
    assert_in_place(&folder);
}

#[test]
fn parts_that_do_not_belong_together_are_not_taken_for_the_file() {
    let answers =
        vec![Sends { from: 0, n_bytes: 100_000 }, Sends { from: 120_000, n_bytes: usize::MAX }];
    let (folder, (url, _)) = (tempfile::tempdir().unwrap(), serve(answers));
    assert_nothing_in_place(&folder, download(folder.path(), &[&url]), &["SHA-256"]);
}

#[test]
fn nobody_listening_and_no_address_at_all_are_clear_errors() {
    let folder = tempfile::tempdir().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://name:secret@{gone}");
    let done = download(folder.path(), &[&gone, "no address"]);
    assert_nothing_in_place(
        &folder,
        done,
        &["every mirror failed", "http://127.0.0.1", "no address"],
    );
}

#[test]
fn a_file_that_is_there_is_never_replaced() {
    for (bytes, is_good) in [(file(), true), (file()[..1000].to_vec(), false)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(target(&folder), &bytes).unwrap();
        // A mirror that is asked would be the error.
        let done = download(folder.path(), &["no address"]);
        assert_eq!(done.is_ok(), is_good);
        if let Err(error) = done {
            assert!(format!("{error:#}").contains("move it away"), "{error:#}");
        }
        assert!(fs::read(target(&folder)).unwrap() == bytes);
    }
}

#[test]
fn the_content_decides_where_its_checksum_is_the_published_one() {
    let dataset = Dataset {
        mirrors: Vec::new(),
        hashed: Hashed::Content,
        checksums: FILES.map(|_| sha256(&b"content"[..]).unwrap()),
    };
    let checksum = &dataset.checksums[0];
    assert!(dataset.check(&gzip(b"content")[..], true, checksum).is_ok());
    let wrong = [gzip(b"Content"), b"content".to_vec(), [gzip(b"content"), b"x".to_vec()].concat()];
    for packed in wrong {
        assert!(dataset.check(&packed[..], true, checksum).is_err());
    }

    let folder = tempfile::tempdir().unwrap();
    let download = Download { agent: agent(PATIENCE, None), dataset, patience: PATIENCE };
    for name in FILES {
        fs::write(folder.path().join(name), "content").unwrap();
    }
    download.all(folder.path()).unwrap();
    fs::write(folder.path().join(FILES[2]), "Content").unwrap();
    let error = format!("{:#}", download.all(folder.path()).unwrap_err());
    assert!(error.contains(FILES[2]) && error.contains("move it away"), "{error}");
}

/// Neither a link nor a pipe in the place of a file is followed, written or waited for.
#[cfg(unix)]
#[test]
fn links_and_pipes_are_replaced_and_not_written_through() {
    let (folder, (url, _)) = (tempfile::tempdir().unwrap(), serve(vec![WHOLE]));
    let victim = folder.path().join("victim");
    std::os::unix::fs::symlink(&victim, target(&folder)).unwrap();
    download(folder.path(), &[&url]).unwrap();
    assert_in_place(&folder);
    assert!(!victim.exists());

    let (folder, (url, _)) = (tempfile::tempdir().unwrap(), serve(vec![WHOLE]));
    let made = std::process::Command::new("mkfifo").arg(target(&folder)).status();
    assert!(made.unwrap().success());
    download(folder.path(), &[&url]).unwrap();
    assert_in_place(&folder);
}

#[test]
fn a_name_that_is_taken_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let beside = target(&folder).with_extension(format!("gz.{}", std::process::id()));
    fs::write(&beside, "another's").unwrap();
    assert!(put(&target(&folder), b"bytes").is_err());
    assert_eq!(fs::read_to_string(&beside).unwrap(), "another's");
    assert!(!target(&folder).exists());
}

#[test]
fn every_checksum_is_a_sha256_and_none_is_listed_twice() {
    let mut all = [Name::Mnist, Name::FashionMnist].map(|name| name.dataset().checksums).concat();
    assert!(all.iter().all(|sum| sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit())));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
}

#[test]
fn a_folder_of_data_sets_and_the_folder_of_one_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let folder = || Name::FashionMnist.folder(Some(dir.path()));
    assert_eq!(folder(), dir.path().join("fashion-mnist"));
    fs::write(dir.path().join("t10k-labels-idx1-ubyte.gz"), b"").unwrap();
    assert_eq!(folder(), dir.path());
}

#[test]
fn a_name_and_a_password_are_not_shown() {
    assert_eq!(without_credentials("https://me:pw@host:80/a@b/c"), "https://host:80/a@b/c");
    assert_eq!(without_credentials("https://host"), "https://host");
    assert_eq!(without_credentials("no address"), "no address");
}
