//! Which character stands between the fields of a table.

/// What may, in the order of trust.
const CANDIDATES: [u8; 4] = [b',', b'\t', b';', b'|'];
/// Records that are looked at.
const RECORDS: usize = 100;

/// A delimiter as a person reads it.
pub fn name(delimiter: u8) -> String {
    if delimiter == b'\t' { "tabs".to_owned() } else { format!("`{}`", char::from(delimiter)) }
}

/// The delimiter that cuts the most records into as many fields as the header has; None when none cuts the header.
pub fn sniff(body: &[u8]) -> Option<u8> {
    let scored = CANDIDATES.iter().filter_map(|delimiter| {
        let counts = counts(body, *delimiter);
        let columns = *counts.first()?;
        let agree = counts.iter().filter(|count| **count == columns).count();
        // of two that agree equally the one with more columns, then the one first in the list
        (columns > 1).then_some((*delimiter, agree * 1000 / counts.len(), columns))
    });
    scored.rev().max_by_key(|(_, agree, columns)| (*agree, *columns)).map(|(delimiter, ..)| delimiter)
}

/// The delimiter of a file whose ending says nothing: three records or more, all cut alike, into three fields or more
/// (or two, by tabs, which prose does not have).
pub fn certain(body: &[u8]) -> Option<u8> {
    let delimiter = sniff(body)?;
    let counts = counts(body, delimiter);
    let columns = *counts.first()?;
    let least = if delimiter == b'\t' { 2 } else { 3 };
    (counts.len() >= 3 && columns >= least && counts.iter().all(|count| *count == columns))
        .then_some(delimiter)
}

/// The fields of each of the first records; the last one may be cut off and is left out where there are others.
fn counts(body: &[u8], delimiter: u8) -> Vec<usize> {
    let mut counts = Vec::new();
    let (mut fields, mut quoted, mut begins, mut blank) = (1, false, true, true);
    for (at, byte) in body.iter().enumerate() {
        match *byte {
            b'"' if quoted => quoted = false, // of a doubled quote the second opens it again
            b'"' if begins || (at > 0 && body[at - 1] == b'"') => quoted = true,
            b'\n' if !quoted => {
                if !blank {
                    counts.push(fields);
                }
                if counts.len() == RECORDS {
                    return counts;
                }
                (fields, begins, blank) = (1, true, true);
                continue;
            }
            byte if byte == delimiter && !quoted => {
                fields += 1;
                (begins, blank) = (true, false);
                continue;
            }
            _ => {}
        }
        begins = false;
        blank &= byte.is_ascii_whitespace();
    }
    if counts.is_empty() && !blank {
        counts.push(fields);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_one_that_cuts_all_records_alike() {
        assert_eq!(sniff(b"a,b\n1,2\n"), Some(b','));
        assert_eq!(sniff(b"a;b\n1,5;2\n2,5;3\n"), Some(b';'));
        assert_eq!(sniff(b"q\ta\nhi, you\tyes, I\n"), Some(b'\t'));
        assert_eq!(sniff(b"a,b\n\"x;y;z\n;\",2\n"), Some(b','));
        assert_eq!(sniff(b"a,b\n\"say \"\"hi; there\"\"\",2\n"), Some(b','));
        assert_eq!(sniff(b"text\nhello\n"), None);
        assert_eq!(sniff(b"a,b"), Some(b','));
    }

    #[test]
    fn prose_is_no_table() {
        assert_eq!(certain(b"One, two.\nThree.\nFour, five, six.\n"), None);
        assert_eq!(certain(b"One, two\nThree, four\nFive, six\n"), None);
        assert_eq!(certain(b"a\tb\n1\t2\n3\t4\n"), Some(b'\t'));
    }
}
