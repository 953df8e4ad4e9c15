//! Payment orders from a file: what is in it, and carrying it out.

use polity_ledger::{Address, PlatformName};
use polity_types::{Amount, AmountError};
use std::collections::BTreeSet;
use std::io::{self, BufRead};

/// The first line of a file of orders.
pub(crate) const HEADER: [&str; 5] = [
    "order_id",
    "from_account",
    "to_bank",
    "to_account",
    "amount",
];

/// Longest line in bytes.
const LINE_BYTES_MAX: u64 = 4_096;

/// Rows of a file, at most.
pub(crate) const ROWS_MAX: usize = 1_000_000;

/// Platform of the accounts that pay.
pub(crate) const HOME: &str = "home";

/// One order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Line of the file, counted from 1.
    pub(crate) line: usize,
    /// Who pays.
    pub(crate) from: Address,
    /// Who is paid.
    pub(crate) to: Address,
    /// How much.
    pub(crate) amount: Amount,
}

/// A row that is no order, or an order that was refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Refused {
    /// Line of the file, counted from 1.
    pub(crate) line: usize,
    /// Why.
    pub(crate) reason: String,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Orders, in the order of the file.
    pub(crate) orders: Vec<Order>,
    /// Rows that are none.
    pub(crate) malformed: Vec<Refused>,
}

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrdersError {
    /// The system.
    #[error("cannot read the orders: {0}")]
    Io(#[from] io::Error),
    /// The columns are others.
    #[error("the first line must be {}; found {found:?}", HEADER.join(","))]
    Header {
        /// The beginning of the first line.
        found: String,
    },
    /// Too many rows.
    #[error("the file has more than {ROWS_MAX} rows; cut it into several")]
    TooLong,
}

impl Orders {
    /// Reads at most `limit` rows. Empty lines do not count; rows that make no sense are kept with
    /// their reason.
    pub(crate) fn read(mut file: impl BufRead, limit: Option<usize>) -> Result<Self, OrdersError> {
        let mut line = Vec::new();
        read_line(&mut file, &mut line)?;
        let header = String::from_utf8_lossy(&line);
        let header = header.trim_start_matches('\u{feff}');
        let columns: Vec<String> = fields(header).unwrap_or_default();
        if columns != HEADER {
            return Err(OrdersError::Header {
                found: header.chars().take(100).collect(),
            });
        }
        let mut orders = Self::default();
        let mut seen = BTreeSet::new();
        let mut rows = 0;
        for number in 2.. {
            if limit.is_some_and(|limit| rows >= limit) || !read_line(&mut file, &mut line)? {
                break;
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            rows += 1;
            if rows > ROWS_MAX {
                return Err(OrdersError::TooLong);
            }
            match parse_row(&line, number, &mut seen) {
                Ok(order) => orders.orders.push(order),
                Err(reason) => orders.malformed.push(Refused {
                    line: number,
                    reason,
                }),
            }
        }
        Ok(orders)
    }

    /// Banks that are paid, each once.
    pub(crate) fn banks(&self) -> BTreeSet<String> {
        self.orders
            .iter()
            .map(|order| order.to.platform().to_owned())
            .collect()
    }
}

/// Reads a line without its end; of one that is too long only the beginning is kept, and it is then
/// no order. Says whether there was one.
fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    use std::io::Read as _;
    line.clear();
    let mut taken = file.by_ref().take(LINE_BYTES_MAX + 1);
    let count = taken.read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if line.len() as u64 > LINE_BYTES_MAX {
        // The rest of the line is not wanted, however long it is.
        loop {
            let buffer = file.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(buffer.len(), |end| end + 1);
            file.consume(length);
            if end.is_some() {
                break;
            }
        }
    }
    Ok(count > 0)
}

fn parse_row(line: &[u8], number: usize, seen: &mut BTreeSet<String>) -> Result<Order, String> {
    if line.len() as u64 > LINE_BYTES_MAX {
        return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
    let fields = fields(text)?;
    let [order_id, from, bank, to, amount] = fields.as_slice() else {
        return Err(format!(
            "a row has {} fields, not {}",
            HEADER.len(),
            fields.len()
        ));
    };
    if order_id.is_empty() {
        return Err("order_id is empty".to_owned());
    }
    let bank = bank.to_ascii_lowercase();
    let platform: PlatformName = bank.parse().map_err(|error| format!("to_bank: {error}"))?;
    let from = Address::new(from, HOME).map_err(|error| format!("from_account: {error}"))?;
    let to = Address::new(to, platform.as_str()).map_err(|error| format!("to_account: {error}"))?;
    for address in [&from, &to] {
        if address.agent() == crate::federation::CLEARING {
            return Err(format!("{address} is no client's account"));
        }
    }
    let amount = parse_amount(amount).map_err(|error| format!("amount: {error}"))?;
    if amount.is_zero() {
        return Err("amount: the amount is zero".to_owned());
    }
    if !seen.insert(order_id.clone()) {
        return Err(format!("order_id {order_id} stands twice"));
    }
    Ok(Order {
        line: number,
        from,
        to,
        amount,
    })
}

/// Banks write `.80` where we write `0.80`; everything else is as strict as everywhere (LG-2).
fn parse_amount(text: &str) -> Result<Amount, AmountError> {
    match text.strip_prefix('.') {
        Some(part) if !part.is_empty() => format!("0.{part}").parse(),
        Some(_) | None => text.parse(),
    }
}

/// The fields of a line of comma-separated values (RFC 4180, without line breaks in fields).
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (field, after) = rest.split_at(end);
            if field.contains('"') {
                return Err("a quotation mark stands within a field".to_owned());
            }
            (field.trim().to_owned(), after)
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err("text follows a quoted field".to_owned()),
        }
    }
}

/// A field up to its closing quotation mark, and what follows it.
fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest
            .find('"')
            .ok_or_else(|| "a quoted field does not end".to_owned())?;
        field += &rest[..end];
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn read(rows: &str) -> Orders {
        let text = format!("{}\n{rows}", HEADER.join(","));
        Orders::read(text.as_bytes(), None).unwrap()
    }

    #[test]
    fn rows_become_orders_with_lower_case_banks() {
        let orders = read("29401,1,YZ,87144583,245.20\r\n\n29402,2,St,8959,\"337.27\"\n");
        assert_eq!(orders.malformed, []);
        let rows: Vec<(usize, &str, &str, String)> = orders
            .orders
            .iter()
            .map(|o| (o.line, o.from.as_str(), o.to.as_str(), o.amount.to_string()))
            .collect();
        assert_eq!(
            rows,
            [
                (2, "1@home", "87144583@yz", "245.2".to_owned()),
                (4, "2@home", "8959@st", "337.27".to_owned()),
            ]
        );
        assert_eq!(orders.banks().len(), 2);
    }

    #[rstest]
    #[case::too_few("1,1,AB,2", "5 fields, not 4")]
    #[case::too_many("1,1,AB,2,3,4", "5 fields, not 6")]
    #[case::no_id(",1,AB,2,3", "order_id is empty")]
    #[case::no_payer("1,,AB,2,3", "from_account")]
    #[case::payer_with_at("1,a@b,AB,2,3", "from_account")]
    #[case::bank("1,1,A B,2,3", "to_bank")]
    #[case::no_bank("1,1,,2,3", "to_bank")]
    #[case::payee("1,1,AB,ä,3", "to_account")]
    #[case::clearing("1,clearing,AB,2,3", "no client's account")]
    #[case::amount("1,1,AB,2,1e3", "amount")]
    #[case::negative("1,1,AB,2,-3", "amount")]
    #[case::places("1,1,AB,2,0.0000001", "amount")]
    #[case::zero("1,1,AB,2,0.00", "zero")]
    #[case::not_a_number("1,1,AB,2,NaN", "amount")]
    #[case::point_alone("1,1,AB,2,.", "amount")]
    #[case::two_points("1,1,AB,2,..5", "amount")]
    #[case::no_places("1,1,AB,2,5.", "amount")]
    #[case::open_quote("1,1,AB,2,\"3", "does not end")]
    #[case::inner_quote("1,1,AB,2,3\"", "quotation mark")]
    #[case::after_quote("1,1,AB,2,\"3\"4", "follows a quoted field")]
    fn rows_that_make_no_sense_are_kept_with_their_line(#[case] row: &str, #[case] reason: &str) {
        let orders = read(&format!("{row}\n77,1,AB,2,3\n"));
        assert_eq!(orders.orders.len(), 1);
        assert_eq!(orders.malformed.len(), 1);
        assert_eq!(orders.malformed[0].line, 2);
        let found = &orders.malformed[0].reason;
        assert!(found.contains(reason), "{found:?} lacks {reason:?}");
    }

    #[test]
    fn an_amount_may_begin_with_its_point() {
        let orders = read("1,1,AB,2,.80\n");
        assert_eq!(orders.orders[0].amount.units(), 800_000);
    }

    #[test]
    fn an_order_id_counts_once() {
        let orders = read("1,1,AB,2,3\n1,1,AB,2,3\n");
        assert_eq!(orders.orders.len(), 1);
        assert_eq!(orders.malformed[0].reason, "order_id 1 stands twice");
    }

    #[test]
    fn a_line_that_is_too_long_is_one_row() {
        let orders = read(&format!("{}\n2,1,AB,2,3\n", "x".repeat(100_000)));
        assert_eq!(orders.orders.len(), 1);
        assert_eq!(orders.malformed.len(), 1);
    }

    #[test]
    fn bytes_that_are_no_text_are_one_row() {
        let mut bytes = format!("{}\n", HEADER.join(",")).into_bytes();
        bytes.extend_from_slice(b"1,\xff,AB,2,3\n2,1,AB,2,3");
        let orders = Orders::read(bytes.as_slice(), None).unwrap();
        assert_eq!((orders.orders.len(), orders.malformed.len()), (1, 1));
    }

    #[test]
    fn the_limit_counts_rows() {
        let text = format!("{}\nbad\n2,1,AB,2,3\n3,1,AB,2,3\n", HEADER.join(","));
        let orders = Orders::read(text.as_bytes(), Some(2)).unwrap();
        assert_eq!((orders.orders.len(), orders.malformed.len()), (1, 1));
    }

    #[rstest]
    #[case::empty("")]
    #[case::other_columns("id,from,to,amount\n")]
    #[case::no_header("1,1,AB,2,3\n")]
    fn other_files_are_refused(#[case] text: &str) {
        let result = Orders::read(text.as_bytes(), None);
        assert!(matches!(result, Err(OrdersError::Header { .. })));
    }
}
