//! A form with a file (`multipart/form-data`, RFC 7578), read as it arrives: nothing of the file is held but a delimiter's length.

use super::error::Error;
use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};

/// RFC 2046 5.1.1.
const LONGEST_BOUNDARY: usize = 70;
/// What a part says of itself.
const LONGEST_HEAD: usize = 4096;
/// A field that is no file.
const LONGEST_FIELD: usize = 4096;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Field {
        name: String,
        value: String,
    },
    /// A file begins, which its sender calls `file`; that is empty where none was chosen.
    File {
        name: String,
        file: String,
    },
    /// More of the file that began.
    Data(Bytes),
    /// Nothing of the form is missing.
    End,
}

/// A form under way.
pub(super) struct Parts {
    delimiter: Vec<u8>,
    waits: Vec<u8>,
    place: Place,
}

enum Place {
    /// Behind nothing yet, or a part: a delimiter comes.
    Between,
    /// Behind a delimiter: another part comes, or the end.
    Behind,
    Head,
    Field {
        name: String,
        value: Vec<u8>,
    },
    File,
    Over,
}

fn broken(what: &str) -> Error {
    Error::Invalid(format!("The form does not read: {what}."))
}

impl Parts {
    /// By the boundary that the form's head names.
    ///
    /// # Errors
    /// If it is another kind of form.
    pub fn new(headers: &HeaderMap) -> Result<Self, Error> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let mut words = kind.split(';').map(str::trim);
        let multipart = words.next().is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data"));
        let boundary = words.find_map(|word| word.strip_prefix("boundary=")).map(|word| word.trim_matches('"'));
        let boundary = boundary.filter(|text| multipart && !text.is_empty() && text.len() <= LONGEST_BOUNDARY);
        let boundary = boundary.ok_or_else(|| broken("it is no form with a file"))?;
        // The first delimiter has no line before it, all others have.
        Ok(Parts {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            waits: b"\r\n".to_vec(),
            place: Place::Between,
        })
    }

    /// Takes the next bytes, and returns what they complete.
    ///
    /// # Errors
    /// If this is no such form.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Part>, Error> {
        self.waits.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while self.step(&mut parts)? {}
        Ok(parts)
    }

    /// Whether there is more to read in what waits.
    fn step(&mut self, parts: &mut Vec<Part>) -> Result<bool, Error> {
        match &mut self.place {
            Place::Between => {
                let seen = self.waits.len().min(self.delimiter.len());
                if self.waits.get(..seen) != self.delimiter.get(..seen) {
                    return Err(broken("it does not begin as its head says"));
                }
                if seen < self.delimiter.len() {
                    return Ok(false);
                }
                self.waits.drain(..seen);
                self.place = Place::Behind;
            }
            Place::Behind => {
                match self.waits.get(..2) {
                    None => return Ok(false),
                    Some(b"\r\n") => self.place = Place::Head,
                    Some(b"--") => {
                        parts.push(Part::End);
                        self.place = Place::Over;
                    }
                    Some(_) => return Err(broken("something stands behind a boundary")),
                }
                self.waits.drain(..2);
            }
            Place::Head => {
                let Some(end) = find(&self.waits, b"\r\n\r\n") else {
                    let long = self.waits.len() > LONGEST_HEAD;
                    return if long { Err(broken("the head of a part does not end")) } else { Ok(false) };
                };
                let head: Vec<u8> = self.waits.drain(..end + 4).collect();
                let (name, file) = named(&String::from_utf8_lossy(&head))?;
                self.place = match file {
                    Some(file) => {
                        parts.push(Part::File { name, file });
                        Place::File
                    }
                    None => Place::Field { name, value: Vec::new() },
                };
            }
            Place::Field { name, value } => {
                let (whole, taken) = take(&mut self.waits, &self.delimiter);
                value.extend_from_slice(&taken);
                if value.len() > LONGEST_FIELD {
                    return Err(broken("a field is too long"));
                }
                if !whole {
                    return Ok(false);
                }
                let value = String::from_utf8_lossy(value).into_owned();
                parts.push(Part::Field { name: std::mem::take(name), value });
                self.place = Place::Between;
            }
            Place::File => {
                let (whole, taken) = take(&mut self.waits, &self.delimiter);
                if !taken.is_empty() {
                    parts.push(Part::Data(taken.into()));
                }
                if !whole {
                    return Ok(false);
                }
                self.place = Place::Between;
            }
            // RFC 2046: what follows is for nobody.
            Place::Over => {
                self.waits.clear();
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Everything before the delimiter, and whether it is there; without one, what cannot be its beginning.
fn take(waits: &mut Vec<u8>, delimiter: &[u8]) -> (bool, Vec<u8>) {
    match find(waits, delimiter) {
        Some(at) => (true, waits.drain(..at).collect()),
        None => {
            let sure = waits.len().saturating_sub(delimiter.len() - 1);
            (false, waits.drain(..sure).collect())
        }
    }
}

/// Both begin with a carriage return, which is rare: most bytes are looked at once.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        from += rest.iter().position(|byte| *byte == b'\r')?;
        if bytes.get(from..)?.starts_with(wanted) {
            return Some(from);
        }
        from += 1;
    }
}

/// The name of a part, and of the file in it if there is one.
fn named(head: &str) -> Result<(String, Option<String>), Error> {
    let lines = head.split("\r\n");
    let said =
        lines.filter_map(|line| line.split_once(':')).find(|(key, _)| key.eq_ignore_ascii_case("content-disposition"));
    let (_, said) = said.ok_or_else(|| broken("a part has no name"))?;
    // Browsers write a quote in a name as %22 (WHATWG HTML 4.10.21.8).
    let value = |key: &str| said.split_once(&format!("; {key}=\"")).and_then(|(_, rest)| rest.split_once('"'));
    let (name, _) = value("name").ok_or_else(|| broken("a part has no name"))?;
    Ok((name.to_owned(), value("filename").map(|(file, _)| file.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parts(kind: &'static str) -> Result<Parts, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Parts::new(&headers)
    }

    /// In pieces of so many bytes; data joined again.
    fn read(body: &[u8], pieces: usize) -> Result<Vec<Part>, Error> {
        let mut form = parts("multipart/form-data; boundary=\"--x\"").unwrap();
        let mut all: Vec<Part> = Vec::new();
        for piece in body.chunks(pieces) {
            for part in form.feed(piece)? {
                match (all.last_mut(), part) {
                    (Some(Part::Data(before)), Part::Data(more)) => *before = [&before[..], &more[..]].concat().into(),
                    (_, part) => all.push(part),
                }
            }
        }
        Ok(all)
    }

    const FORM: &[u8] = b"----x\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\nabc\r\n----x\r\n\
        content-disposition: form-data; name=\"bundle\"; filename=\"a; name=b\"\r\nContent-Type: application/octet-stream\r\n\r\n\
        one\r\n----\r\n----y\r\n\r\r\n--\r\n----x--\r\nignored";

    #[test]
    fn a_form_reads_the_same_however_it_is_cut() {
        let wanted = [
            Part::Field { name: "csrf".to_owned(), value: "abc".to_owned() },
            Part::File { name: "bundle".to_owned(), file: "a; name=b".to_owned() },
            Part::Data(Bytes::from_static(b"one\r\n----\r\n----y\r\n\r\r\n--")),
            Part::End,
        ];
        for pieces in 1..=FORM.len() {
            assert_eq!(read(FORM, pieces).unwrap(), wanted, "pieces of {pieces}");
        }
    }

    #[test]
    fn a_form_that_breaks_off_has_no_end() {
        let end = FORM.len() - "--\r\nignored".len();
        for length in 0..=end {
            assert!(!read(&FORM[..length], 7).unwrap().contains(&Part::End), "{length}");
        }
        assert!(read(&FORM[..end + 2], 7).unwrap().contains(&Part::End));
    }

    #[test]
    fn what_is_no_such_form_is_refused() {
        for kind in
            ["text/plain", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=x"]
        {
            assert!(parts(kind).is_err(), "{kind}");
        }
        let long = [b"----x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n".to_vec(), vec![b'a'; 9000]].concat();
        let head = [b"----x\r\n".to_vec(), vec![b'a'; 9000]].concat();
        for body in
            [b"csrf=abc&bundle=x".to_vec(), b"----xy\r\n".to_vec(), b"----x\r\nA: b\r\n\r\n".to_vec(), long, head]
        {
            assert!(read(&body, 100).is_err(), "{}", String::from_utf8_lossy(&body[..20.min(body.len())]));
        }
    }

    #[test]
    fn nothing_of_a_file_is_held_back_but_a_delimiter() {
        let mut form = parts("multipart/form-data; boundary=x").unwrap();
        form.feed(b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\n\r\n").unwrap();
        for _ in 0..100 {
            form.feed(&[b'\r'; 10_000]).unwrap();
            assert!(form.waits.len() <= 5);
        }
    }
}
