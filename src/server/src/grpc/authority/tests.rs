use loona_hpack::Decoder;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const URL: &str = "http://127.0.0.1:2379";
const HOST: &str = "127.0.0.1:2379";

/// The block of headers of `etcdctl endpoint status --endpoints=http://127.0.0.1:32481`, version 3.4.23, as it was sent.
#[rustfmt::skip]
const ETCDCTL: &[u8] = &[
    0x83, 0x86, 0x45, 0x97, 0x60, 0xa9, 0x24, 0x88, 0x2d, 0x9d, 0xcb, 0x65, 0x71, 0xaf, 0xa0, 0x66, 0xa9, 0x25, 0xa8,
    0x75, 0x10, 0xac, 0x6e, 0x48, 0xd3, 0x6a, 0x3f, 0x41, 0x90, 0x9d, 0x29, 0xae, 0xe3, 0x0c, 0x04, 0x4e, 0xae, 0x05,
    0xc0, 0xb8, 0x6e, 0x32, 0x26, 0x9e, 0x0f, 0x5f, 0x8b, 0x1d, 0x75, 0xd0, 0x62, 0x0d, 0x26, 0x3d, 0x4c, 0x4d, 0x65,
    0x64, 0x7a, 0x8b, 0x9a, 0xca, 0xc8, 0xb4, 0xc7, 0x60, 0x2b, 0xb2, 0xca, 0xec, 0xff, 0x40, 0x02, 0x74, 0x65, 0x86,
    0x4d, 0x83, 0x35, 0x05, 0xb1, 0x1f, 0x40, 0x89, 0x9a, 0xca, 0xc8, 0xb2, 0x4d, 0x49, 0x4f, 0x6a, 0x7f, 0x86, 0x75,
    0xf7, 0xdc, 0x74, 0x21, 0xb7, 0x40, 0x8d, 0x25, 0x06, 0x2d, 0x49, 0x58, 0x75, 0x99, 0x6e, 0xe5, 0xb1, 0x06, 0x3d,
    0x5f, 0x03, 0x33, 0x2e, 0x34,
];

/// `http://` in Huffman's code but for the last bit, which is zero.
const HTTP_IN_HUFFMAN: &[u8] = &[0x9d, 0x29, 0xae, 0xe3, 0x0c];

type Field = (Vec<u8>, Vec<u8>);

fn field(name: &str, value: &str) -> Field {
    (name.into(), value.into())
}

fn request(authority: &str) -> Vec<Field> {
    vec![
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", "/etcdserverpb.Maintenance/Status"),
        field(":authority", authority),
        field("content-type", "application/grpc"),
    ]
}

/// An encoder that puts every field into the dynamic table and takes from there what it can.
#[derive(Default)]
struct Table {
    /// The newest first.
    fields: Vec<Field>,
}

impl Table {
    const BYTES: usize = 4_096;

    fn block(&mut self, fields: &[Field]) -> Vec<u8> {
        let mut out = vec![];
        for (name, value) in fields {
            if let Some(index) = self.fields.iter().position(|(n, v)| (n, v) == (name, value)) {
                encode_integer_into(62 + index, 7, 0x80, &mut out).unwrap();
                continue;
            }
            if name == b":authority" {
                out.push(0x40 | 1);
            } else {
                out.push(0x40);
                text(name, &mut out);
            }
            text(value, &mut out);
            self.fields.insert(0, (name.clone(), value.clone()));
            while self.fields.iter().map(|(n, v)| n.len() + v.len() + 32).sum::<usize>() > Self::BYTES {
                self.fields.pop();
            }
        }
        out
    }
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    encode_integer_into(bytes.len(), 7, 0, out).unwrap();
    out.extend_from_slice(bytes);
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    Head { length: payload.len(), kind, flags, stream: [0, 0, 0, stream] }.write(&mut out);
    [&out, payload].concat()
}

fn headers(stream: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

/// The preface, empty settings, and then these frames.
fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE.to_vec(), frame(4, 0, 0, &[]), frames.concat()].concat()
}

/// What h2 reads of what a client sends in pieces of so many bytes, over and over.
fn edited_in(sent: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut editor = Editor::default();
    let (mut rest, mut sizes) = (sent, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        editor.push(piece);
        assert!(editor.held.len() < MAX_HELD_HEADER_BYTES + HEAD_BYTES);
        rest = behind;
    }
    editor.stage = Stage::Done;
    editor.push(&[]);
    editor.ready.to_vec()
}

fn edited(sent: &[u8]) -> Vec<u8> {
    edited_in(sent, &[sent.len()])
}

fn assert_untouched(sent: &[u8]) {
    assert_eq!(edited(sent), sent);
    assert_eq!(edited_in(sent, &[1]), sent);
}

/// The lists of headers in a connection's bytes, as a decoder with a table reads them.
fn decoded(connection: &[u8]) -> Vec<Vec<Field>> {
    let (mut decoder, mut block, mut lists) = (Decoder::new(), vec![], vec![]);
    let mut rest = connection.strip_prefix(PREFACE).unwrap();
    while let Some((head, payload, behind)) = split_frame(rest) {
        rest = behind;
        assert!(head.length <= MAX_FRAME_BYTES);
        if ![HEADERS, CONTINUATION].contains(&head.kind) {
            continue;
        }
        let payload = if head.flags & PADDED == 0 { payload } else { unpadded(payload).unwrap() };
        let priority = if head.flags & PRIORITY == 0 { 0 } else { PRIORITY_BYTES };
        block.extend_from_slice(&payload[priority..]);
        if head.flags & END_HEADERS != 0 {
            lists.push(decoder.decode(&block).unwrap());
            block.clear();
        }
    }
    assert_eq!(rest, b"");
    lists
}

#[test]
fn a_url_becomes_its_host_and_port_and_all_else_stays() {
    let ping = frame(6, 0, 0, &[7; 8]);
    let sent = connection(&[ping.clone(), headers(1, &Table::default().block(&request(URL))), ping.clone()]);
    let expected = connection(&[ping.clone(), headers(1, &Table::default().block(&request(HOST))), ping]);
    assert_eq!(edited(&sent), expected);
    assert_eq!(edited_in(&sent, &[1]), expected);
}

#[test]
fn etcdctl_3_4_is_understood() {
    let sent = connection(&[headers(1, ETCDCTL)]);
    let [before, after] = [decoded(&sent), decoded(&edited(&sent))].map(|lists| lists.concat());
    assert_eq!(before[3], field(":authority", "http://127.0.0.1:32481"));
    assert_eq!(after[3], field(":authority", "127.0.0.1:32481"));
    assert_eq!([&before[..3], &before[4..]], [&after[..3], &after[4..]]);
}

#[test]
fn what_is_no_url_stays() {
    for (authority, expected) in [
        ("etcd.example:2379", "etcd.example:2379"),
        ("[::1]:2379", "[::1]:2379"),
        ("", ""),
        ("http://", "http://"),
        ("unix:///run/etcd", "unix:///run/etcd"),
        ("https://etcd.example:2379/v3?a#b", "etcd.example:2379"),
        ("http://[::1]:2379/", "[::1]:2379"),
    ] {
        let sent = connection(&[headers(1, &Table::default().block(&request(authority)))]);
        assert_eq!(decoded(&edited(&sent)), [request(expected)]);
        if authority == expected {
            assert_untouched(&sent);
        }
    }
}

#[test]
fn later_requests_may_take_the_authority_from_the_table() {
    let mut table = Table::default();
    let blocks =
        [request(URL), request(URL), vec![field("grpc-timeout", "1S")], request(URL)].map(|list| table.block(&list));
    assert_eq!(blocks[1].len(), 5, "each field is an index");
    let frames: Vec<_> = [1, 3, 3, 5].iter().zip(&blocks).map(|(stream, block)| headers(*stream, block)).collect();
    let lists = decoded(&edited(&connection(&frames)));
    assert_eq!(lists, [request(HOST), request(HOST), vec![field("grpc-timeout", "1S")], request(HOST)]);
}

#[test]
fn a_block_may_be_padded_and_continued() {
    let block = Table::default().block(&request(URL));
    let (first, second) = block.split_at(7);
    let first = [&[3, 0, 0, 0, 0, 15], first, &[0; 3]].concat();
    let frames =
        [frame(HEADERS, PADDED | PRIORITY | END_STREAM, 1, &first), frame(CONTINUATION, END_HEADERS, 1, second)];
    let expected = [&[0, 0, 0, 0, 15][..], &Table::default().block(&request(HOST))].concat();
    let expected = connection(&[frame(HEADERS, PRIORITY | END_STREAM | END_HEADERS, 1, &expected)]);
    assert_eq!(edited(&connection(&frames)), expected);
    assert_eq!(edited_in(&connection(&frames), &[1]), expected);
}

/// A block whose text comes in Huffman's code grows.
#[test]
fn a_block_that_outgrows_its_frame_is_continued() {
    // The last bit of `http://`, and 195 times `0`, which is five bits of zero.
    let huffman = [HTTP_IN_HUFFMAN, &[0; 122]].concat();
    let mut block = vec![0x41];
    encode_integer_into(huffman.len(), 7, 0x80, &mut block).unwrap();
    block.extend_from_slice(&huffman);
    block.push(0);
    text(b"filler", &mut block);
    let filler = MAX_FRAME_BYTES - block.len() - 3;
    text(&vec![b'x'; filler], &mut block);
    assert_eq!(block.len(), MAX_FRAME_BYTES);
    let lists = decoded(&edited(&connection(&[headers(1, &block)])));
    assert_eq!(lists[0][0], field(":authority", &"0".repeat(195)));
    assert_eq!(lists[0][1].1.len(), filler);
}

#[test]
fn http_1_is_untouched() {
    assert_untouched(b"GET /health HTTP/1.1\r\nHost: http://127.0.0.1:2379\r\n\r\n");
    assert_untouched(b"POST / HTTP/1.1\r\n\r\n");
    assert_untouched(b"P");
}

#[test]
fn after_a_usual_authority_nothing_is_looked_at() {
    let frames = [HOST, URL].map(|authority| headers(1, &Table::default().block(&request(authority))));
    assert_untouched(&connection(&frames));
}

#[test]
fn what_is_malformed_goes_on_for_h2_to_refuse() {
    let block = Table::default().block(&request(URL));
    let (first, second) = block.split_at(7);
    let all = |payload: &[u8], flags| vec![frame(HEADERS, END_HEADERS | flags, 1, payload)];
    for (frames, why) in [
        (all(&[&[200], &block[..]].concat(), PADDED), "more padding than payload"),
        (all(&[], PADDED), "no length of the padding"),
        (all(&[0; 4], PRIORITY), "half a priority"),
        (all(&block[..block.len() - 40], 0), "a string without its end"),
        (all(&[0x41, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], 0), "an integer without its end"),
        (all(&[0x41, 0x81, 0x00], 0), "bad padding of Huffman's code"),
        (vec![frame(HEADERS, 0, 1, first), frame(CONTINUATION, END_HEADERS, 3, second)], "another stream"),
        (vec![frame(HEADERS, 0, 1, first), frame(0, END_HEADERS, 1, second)], "another kind of frame"),
        (vec![frame(CONTINUATION, END_HEADERS, 1, second)], "a continuation of nothing"),
        (all(&[&block[..], &vec![0; MAX_FRAME_BYTES]].concat(), 0), "a frame that is too large"),
        (vec![frame(0, 0, 1, &vec![0; MAX_FRAME_BYTES + 1])], "another frame that is too large"),
        (
            [vec![frame(HEADERS, 0, 1, &block)], vec![frame(CONTINUATION, 0, 1, &[0; MAX_FRAME_BYTES]); 5]].concat(),
            "a block that is too large",
        ),
        (
            [vec![frame(HEADERS, 0, 1, &block)], vec![frame(CONTINUATION, 0, 1, &[]); 9_000]].concat(),
            "a block without an end",
        ),
    ] {
        let sent = connection(&frames);
        assert_eq!(edited(&sent), sent, "{why}");
        assert_eq!(edited_in(&sent, &[1]), sent, "{why}");
    }
}

/// The server's end reads through the wrapper what the client's end sends.
async fn read_through(sent: &[u8], capacity: usize) -> (Vec<u8>, bool) {
    let (mut client, server) = duplex(capacity);
    let mut server = Lenient::new(server);
    let sending = async {
        client.write_all(sent).await.unwrap();
        drop(client);
    };
    let mut received = vec![];
    let (_, read) = tokio::join!(sending, server.read_to_end(&mut received));
    assert_eq!(read.unwrap(), received.len());
    (received, server.editor.is_none())
}

#[tokio::test]
async fn the_order_of_bytes_is_kept_however_they_arrive() {
    let body = frame(0, 0, 1, &[1; 9_000]);
    for (authority, capacity) in [(URL, 1), (URL, 100), (URL, 1 << 20), (HOST, 1), (HOST, 100), (HOST, 1 << 20)] {
        let sent = connection(&[headers(1, &Table::default().block(&request(authority))), body.clone(), body.clone()]);
        let expected = connection(&[headers(1, &Table::default().block(&request(HOST))), body.clone(), body.clone()]);
        assert_eq!(read_through(&sent, capacity).await, (expected, true));
    }
}

#[tokio::test]
async fn a_connection_that_ends_half_way_ends_with_what_it_sent() {
    let sent = connection(&[headers(1, &Table::default().block(&request(URL)))]);
    for length in [0, 3, PREFACE.len(), PREFACE.len() + 5, sent.len() - 1] {
        assert_eq!(read_through(&sent[..length], 1 << 20).await, (sent[..length].to_vec(), true));
    }
}

/// The reason for it all, and that it still is one: with a release of h2 that takes URLs this module is superfluous.
#[tokio::test]
async fn h2_serves_each_request_and_without_help_none() {
    assert_eq!(answers(Lenient::new).await, [HEADERS; 3]);
    assert_eq!(answers(|stream| stream).await, [RST_STREAM; 3]);
}

const RST_STREAM: u8 = 3;

/// The kinds of frames with which h2 answers three requests that arrive over a stream like this.
async fn answers<S: AsyncRead + AsyncWrite + Unpin>(wrap: impl FnOnce(DuplexStream) -> S) -> Vec<u8> {
    let mut table = Table::default();
    let requests: Vec<_> = [1, 3, 5].map(|stream| headers(stream, &table.block(&request(URL)))).into();
    let (mut client, server) = duplex(1 << 20);
    client.write_all(&connection(&requests)).await.unwrap();
    let serving = async {
        let mut connection = h2::server::handshake(wrap(server)).await.unwrap();
        while let Some(accepted) = connection.accept().await {
            let (request, mut respond) = accepted.unwrap();
            assert_eq!(request.uri().authority().unwrap(), HOST);
            respond.send_response(http::Response::new(()), true).unwrap();
        }
    };
    let reading = async {
        let mut kinds = vec![];
        while kinds.len() < requests.len() {
            let mut head = [0; HEAD_BYTES];
            client.read_exact(&mut head).await.unwrap();
            let head = Head::read(&head).unwrap();
            client.read_exact(&mut vec![0; head.length]).await.unwrap();
            kinds.extend([HEADERS, RST_STREAM].contains(&head.kind).then_some(head.kind));
        }
        kinds
    };
    tokio::select! {
        () = serving => panic!("the connection ended"),
        kinds = reading => kinds,
    }
}

fn any_list() -> impl Strategy<Value = Vec<Field>> {
    let authority = prop_oneof![Just(URL), Just("https://other.example:1/x"), Just("plain.example:2")];
    let other = (0..6_u8, prop_oneof![0..40_usize, 0..1_500_usize], 0..3_u8);
    (authority, vec(other, 0..8)).prop_map(|(authority, others)| {
        let others = others.into_iter().map(|(name, length, value)| (vec![b'a' + name], vec![value; length]));
        [field(":authority", authority)].into_iter().chain(others).collect()
    })
}

fn any_sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4_usize, 1..3_000_usize], 1..20)
}

fn reduced(list: Vec<Field>) -> Vec<Field> {
    let reduce = |(name, value): Field| match host(&value) {
        Some(host) => (name, host.to_vec()),
        None => (name, value),
    };
    list.into_iter().map(reduce).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// The client's table is always the newest part of that behind us, evictions and all.
    #[test]
    fn each_index_means_the_same_field_to_both_sides(
        lists in vec(any_list(), 1..30), part in 1..4_000_usize, padding in any::<Option<u8>>(), sizes in any_sizes(),
    ) {
        let first = [vec![field(":authority", URL)]];
        let lists: Vec<_> = first.into_iter().chain(lists).collect();
        let mut table = Table::default();
        let mut frames = vec![];
        for list in &lists {
            let block = table.block(list);
            let (first, rest) = block.split_at(part.min(block.len()));
            let end = |rest: &[u8]| if rest.is_empty() { END_HEADERS } else { 0 };
            let (flags, length, zeros) = padding.map_or((0, vec![], vec![]), |n| (PADDED, vec![n], vec![0; n.into()]));
            frames.push(frame(HEADERS, flags | end(rest), 1, &[&length, first, &zeros].concat()));
            let mut parts = rest.chunks(part).peekable();
            while let Some(part) = parts.next() {
                frames.push(frame(CONTINUATION, end(parts.peek().unwrap_or(&&[][..])), 1, part));
            }
            frames.push(frame(0, 0, 1, first));
        }
        let received = edited_in(&connection(&frames), &sizes);
        prop_assert_eq!(decoded(&received), lists.into_iter().map(reduced).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_read_does_not_depend_on_how_it_arrives(
        lists in vec(any_list(), 0..5), garbage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), sizes in any_sizes(),
    ) {
        let mut table = Table::default();
        let frames: Vec<_> = lists.iter().map(|list| headers(1, &table.block(list))).collect();
        let mut sent = connection(&frames);
        for (at, byte) in garbage {
            let at = at.index(sent.len());
            sent[at] = byte;
        }
        let expected = edited(&sent);
        prop_assert_eq!(&edited_in(&sent, &sizes), &expected);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert_eq!(&runtime.block_on(read_through(&sent, sizes[0])).0, &expected);
    }

    #[test]
    fn garbage_passes_unchanged(garbage in vec(any::<u8>(), 0..2_000), preface: bool, sizes in any_sizes()) {
        let sent = if preface { [PREFACE, &garbage].concat() } else { garbage };
        prop_assert_eq!(edited_in(&sent, &sizes), sent);
    }
}
