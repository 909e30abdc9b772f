//! Answers of a peer that is a few lines long, on whatever carries bytes.

use std::io::{Read, Write};

/// Reads a message up to the end of its header.
pub fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// What an answer has of its request, as header lines.
pub fn copied(request: &str) -> String {
    let of_answers = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        ["Via", "From", "To", "Call-ID", "CSeq"].contains(&name)
    };
    let mut copied = String::new();
    for line in request.lines().filter(of_answers) {
        copied.push_str(line);
        copied.push_str("\r\n");
    }
    copied
}

/// 486 to a request.
pub fn busy(request: &str) -> String {
    let copied = copied(request);
    format!("SIP/2.0 486 Busy Here\r\n{copied}Content-Length: 0\r\n\r\n")
}

/// Reads a request and answers it with 486.
pub fn be_busy(stream: &mut (impl Read + Write)) {
    let request = read_head(stream);
    let mut lines = request.lines();
    let length = lines.find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    stream.write_all(busy(&request).as_bytes()).unwrap();
    stream.flush().unwrap();
}
