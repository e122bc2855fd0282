//! Downloads from servers that cut, corrupt, stall, lie and refuse: a good file in place, or a clear error and none.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::test_data::{gzip, labels, labels_file, labels_file_by_gzip};
use super::test_server::Behaviour::{self, *};
use super::test_server::TestServer;
use super::*;

const ETAG: &str = "\"one\"";
const NOTHING: [&str; 0] = [];

/// A folder to download into, and the settings to do it with.
struct Case {
    folder: TempDir,
    file: DataFile,
    stall: Duration,
}

impl Case {
    fn new() -> Self {
        // Long enough for a busy machine: nothing but a silent server reaches it.
        Self {
            folder: tempfile::tempdir().unwrap(),
            file: labels_file(),
            stall: Duration::from_secs(30),
        }
    }

    fn impatient() -> Self {
        Self { stall: Duration::from_millis(300), ..Self::new() }
    }

    fn download(&self, mirrors: &[&TestServer]) -> Result<()> {
        let limits = Limits {
            answer: self.stall,
            stall: self.stall,
            pause: Duration::ZERO,
            fruitless_attempts: 3,
        };
        let mirrors = mirrors.iter().map(|server| server.url.clone()).collect();
        let dataset = Dataset {
            mirrors: ["http://usual.example/a", "http://usual.example/b"],
            files: vec![self.file.clone()],
        };
        Download { agent: fetch::agent(&limits, false), limits, mirrors }
            .dataset(&dataset, self.folder.path())
    }

    fn target(&self) -> std::path::PathBuf {
        self.folder.path().join(self.file.gz_name())
    }

    /// Leaves what an earlier download from `server` would have left after these bytes.
    fn begin_with(&self, bytes: &[u8], server: &TestServer) {
        let mut partial = Partial::open(&self.target()).unwrap();
        let url = format!("{}/{}", server.url, self.file.gz_name());
        partial.restart(partial::Origin { url, validator: Some(ETAG.to_owned()) }).unwrap();
        partial.append(bytes).unwrap();
    }

    /// The good file, and nothing else in the folder.
    #[track_caller]
    fn assert_in_place(&self, bytes: &[u8]) {
        assert_eq!(names_in(self.folder.path()), [self.file.gz_name()]);
        assert!(fs::read(self.target()).unwrap() == bytes, "other bytes than the server's");
    }

    /// An error that says this, and no file in place.
    #[track_caller]
    fn assert_fails(&self, mirrors: &[&TestServer], says: &[&str]) {
        let error = format!("{:#}", self.download(mirrors).unwrap_err());
        for words in says {
            assert!(error.contains(words), "{words:?} is missing in: {error}");
        }
        assert!(!self.target().exists(), "a file is in place");
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn body() -> Vec<u8> {
    gzip(&labels(), 6)
}

fn server(behaviours: impl Into<Vec<Behaviour>>) -> TestServer {
    TestServer::start(body(), ETAG, behaviours.into())
}

#[test]
fn a_well_behaved_server_needs_one_request() {
    let (case, server) = (Case::new(), server([]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].starts_with("get /data/train-labels-idx1-ubyte.gz http/1.1"),
        "{}",
        requests[0]
    );
    assert!(requests[0].contains("accept-encoding: identity"), "{}", requests[0]);
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let (case, server) = (Case::new(), server([CutAfter(20_000), CutAfter(10_000)]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[1].contains("range: bytes=20000-"), "{}", requests[1]);
    assert!(requests[1].contains("if-range: \"one\""), "{}", requests[1]);
    assert!(requests[2].contains("range: bytes=30000-"), "{}", requests[2]);
}

#[test]
fn many_cuts_are_no_failure_while_the_file_grows() {
    let (case, server) = (Case::new(), server(vec![CutAfter(5_000); 11]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_gave_up() {
    let case = Case::new();
    let server = server([CutAfter(20_000), CutAfter(0), CutAfter(0), CutAfter(0)]);
    case.assert_fails(&[&server], &["connection"]);
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    assert!(server.requests()[4].contains("range: bytes=20000-"));
}

#[test]
fn a_file_that_changed_on_the_server_is_not_glued_together() {
    let case = Case::new();
    let before = TestServer::start(
        gzip(&labels(), 1),
        "\"old\"",
        vec![CutAfter(20_000), Status("404 Not Found")],
    );
    case.assert_fails(&[&before], &["404"]);
    // The same address with a new file behind it: the old note is rewritten to name the new server.
    let now = server([]);
    let note = case.folder.path().join("train-labels-idx1-ubyte.gz.part.json");
    let text = fs::read_to_string(&note).unwrap().replace(&before.url, &now.url);
    fs::write(&note, text).unwrap();
    case.download(&[&now]).unwrap();
    case.assert_in_place(&body());
    assert!(now.requests()[0].contains("if-range: \"old\""), "{}", now.requests()[0]);
}

#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    let (case, server) = (Case::new(), server([CutAfter(20_000), IgnoreRange]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn another_part_than_the_one_asked_for_is_not_used() {
    let (case, server) = (Case::new(), server([CutAfter(20_000), WrongPart]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    assert!(!server.requests()[2].contains("range:"), "{}", server.requests()[2]);
}

#[test]
fn a_corrupted_body_is_thrown_away_and_fetched_again() {
    let (case, server) = (Case::new(), server([Corrupt]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    assert!(!server.requests()[1].contains("range:"), "{}", server.requests()[1]);
}

#[test]
fn a_corruption_before_a_resume_is_noticed_too() {
    let (case, server) = (Case::new(), server([]));
    let mut begun = body()[..20_000].to_vec();
    begun[10_000] ^= 1;
    case.begin_with(&begun, &server);
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    assert!(server.requests()[0].contains("range: bytes=20000-"), "{}", server.requests()[0]);
}

#[test]
fn a_mirror_that_always_corrupts_is_left_for_the_next() {
    let case = Case::new();
    let (bad, good) = (server(vec![Corrupt; 9]), server([]));
    case.download(&[&bad, &good]).unwrap();
    case.assert_in_place(&body());
}

#[test]
fn nothing_but_corruption_ends_in_an_error_that_says_so() {
    let (case, bad) = (Case::new(), server(vec![Corrupt; 9]));
    case.assert_fails(&[&bad], &["damaged", "by hand", "train-labels-idx1-ubyte.gz", "--mirror"]);
    assert_eq!(bad.requests().len(), 3);
}

#[test]
fn a_stalled_server_is_left_after_a_while_and_resumed() {
    let (case, server) = (Case::impatient(), server([StallAfter(20_000)]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    assert!(server.requests()[1].contains("range: bytes=20000-"), "{}", server.requests()[1]);
}

#[test]
fn a_silent_server_is_left_for_the_next_mirror() {
    let case = Case::impatient();
    let (silent, good) = (server(vec![Silent; 9]), server([]));
    case.download(&[&silent, &good]).unwrap();
    case.assert_in_place(&body());
    assert_eq!(silent.requests().len(), 3);
}

#[test]
fn a_missing_file_is_looked_for_at_the_next_mirror_at_once() {
    let case = Case::new();
    let (without, good) = (server(vec![Status("404 Not Found"); 9]), server([]));
    case.download(&[&without, &good]).unwrap();
    case.assert_in_place(&body());
    assert_eq!(without.requests().len(), 1);
}

#[test]
fn a_server_error_is_tried_again() {
    let case = Case::new();
    let server = server([Status("500 Internal Server Error"), Status("503 Service Unavailable")]);
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
}

#[test]
fn every_mirror_that_failed_is_named_with_its_reason() {
    let case = Case::new();
    let without = server(vec![Status("404 Not Found"); 9]);
    let broken = server(vec![Status("500 Internal Server Error"); 9]);
    case.assert_fails(&[&without, &broken], &[&without.url, "404", &broken.url, "500", "by hand"]);
    assert_eq!(names_in(case.folder.path()), NOTHING);
    assert_eq!(broken.requests().len(), 3);
}

#[test]
fn nobody_listening_is_a_clear_error() {
    let case = Case::new();
    let gone = server([]);
    let url = gone.url.clone();
    drop(gone);
    let limits =
        Limits { fruitless_attempts: 1, pause: Duration::ZERO, ..Limits::for_the_internet() };
    let download =
        Download { agent: fetch::agent(&limits, false), limits, mirrors: vec![url.clone()] };
    let dataset = Dataset { mirrors: ["http://a", "http://b"], files: vec![case.file.clone()] };
    let error = format!("{:#}", download.dataset(&dataset, case.folder.path()).unwrap_err());
    assert!(
        error.contains(&url) && error.contains("no answer") && error.contains("by hand"),
        "{error}"
    );
}

#[test]
fn an_address_that_is_none_is_a_clear_error() {
    let case = Case::new();
    let limits = Limits::for_the_internet();
    let mirrors = vec!["no address at all".to_owned()];
    let download = Download { agent: fetch::agent(&limits, false), limits, mirrors };
    let dataset = Dataset { mirrors: ["http://a", "http://b"], files: vec![case.file.clone()] };
    let error = download.dataset(&dataset, case.folder.path()).unwrap_err();
    assert!(format!("{error:#}").contains("no address at all"), "{error:#}");
}

#[test]
fn a_range_behind_the_end_starts_over() {
    let (case, server) =
        (Case::new(), server([CutAfter(20_000), Status("416 Range Not Satisfiable")]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
}

#[test]
fn a_file_that_was_whole_already_needs_no_more_bytes() {
    let (case, server) = (Case::new(), server([NothingLeft]));
    case.begin_with(&body(), &server);
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_rest_that_the_server_does_not_have_starts_over() {
    let (case, server) = (Case::new(), server([CutAfter(20_000), NothingLeft]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    assert!(!server.requests()[2].contains("range:"), "{}", server.requests()[2]);
}

#[test]
fn a_length_announced_too_long_does_not_hide_a_good_file() {
    let (case, server) = (Case::new(), server(vec![ClaimLength(body().len() + 1000); 9]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_length_announced_too_short_is_not_taken_for_the_file() {
    let (case, liar) = (Case::new(), server(vec![ClaimLength(20_000); 9]));
    case.assert_fails(&[&liar], &["damaged", "unpack"]);
    case.download(&[&server([])]).unwrap();
    case.assert_in_place(&body());
}

#[test]
fn an_end_without_a_length_is_not_taken_for_the_file() {
    let (case, server) = (Case::new(), server([Unannounced(20_000), Unannounced(usize::MAX)]));
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
}

#[test]
fn more_bytes_than_the_file_can_have_are_refused() {
    let case = Case::new();
    case.assert_fails(&[&server([ClaimLength(1 << 40)])], &["1099511627776 bytes"]);
    case.assert_fails(&[&server([Endless])], &["more than the file can have"]);
    assert_eq!(names_in(case.folder.path()), NOTHING);
}

#[test]
fn a_login_page_with_status_200_is_not_taken_for_the_file() {
    let page = b"<html>please log in</html>".to_vec();
    let (case, server) = (Case::new(), server(vec![Instead(page); 9]));
    case.assert_fails(&[&server], &["damaged", "not gzip"]);
}

#[test]
fn a_repacked_file_is_accepted_only_where_the_content_decides() {
    let repacked = || TestServer::start(gzip(&labels(), 1), ETAG, Vec::new());
    let by_content = Case::new();
    by_content.download(&[&repacked()]).unwrap();
    by_content.assert_in_place(&gzip(&labels(), 1));

    let by_gzip = Case { file: labels_file_by_gzip(6), ..Case::new() };
    by_gzip.assert_fails(&[&repacked()], &["SHA-256"]);
    by_gzip.download(&[&server([])]).unwrap();
    by_gzip.assert_in_place(&body());
}

#[test]
fn what_is_there_and_sound_is_not_fetched_again() {
    for (name, bytes) in
        [("train-labels-idx1-ubyte", labels()), ("train-labels-idx1-ubyte.gz", body())]
    {
        let (case, server) = (Case::new(), server([]));
        fs::write(case.folder.path().join(name), &bytes).unwrap();
        case.download(&[&server]).unwrap();
        assert_eq!(server.requests().len(), 0, "{name}");
        assert_eq!(names_in(case.folder.path()), [name]);
    }
}

#[test]
fn a_damaged_gz_is_replaced() {
    let (case, server) = (Case::new(), server([]));
    fs::write(case.target(), &body()[..1000]).unwrap();
    case.download(&[&server]).unwrap();
    case.assert_in_place(&body());
}

#[test]
fn a_damaged_gz_beside_a_sound_raw_file_is_no_obstacle() {
    let (case, server) = (Case::new(), server([]));
    fs::write(case.folder.path().join("train-labels-idx1-ubyte"), labels()).unwrap();
    fs::write(case.target(), &body()[..1000]).unwrap();
    case.download(&[&server]).unwrap();
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_damaged_raw_file_is_left_to_its_owner() {
    let (case, server) = (Case::new(), server([]));
    let raw = case.folder.path().join("train-labels-idx1-ubyte");
    fs::write(&raw, &labels()[..1000]).unwrap();
    case.assert_fails(&[&server], &["train-labels-idx1-ubyte is damaged", "Move it away"]);
    assert_eq!(fs::read(&raw).unwrap().len(), 1000);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_download_without_asking_other_mirrors() {
    let case = Case::new();
    std::os::unix::fs::symlink(
        "/dev/full",
        case.folder.path().join("train-labels-idx1-ubyte.gz.part"),
    )
    .unwrap();
    let (first, second) = (server([]), server([]));
    case.assert_fails(&[&first, &second], &["the disk is full"]);
    assert_eq!(second.requests().len(), 0);
}
