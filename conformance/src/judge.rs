//! The judge: what the client got, and what the origin was asked.

use crate::case::{ExpectedField, ExpectedType, NameOrPair, Step};
use crate::client::Response;
use crate::record::Record;
use crate::verdict::{Class, Failure, Verdict, check};

/// Judges the response to the request with this number, in this test.
pub(crate) fn response(step: &Step, number: i64, token: &str, response: &Response) -> Verdict {
    was_sent_once(response)?;
    expected_type(step, number, response)?;
    status(step, response)?;
    for expected in &step.expected_response_headers {
        field(step, expected, response)?;
    }
    for expected in &step.expected_response_headers_missing {
        missing_field(step, expected, response)?;
    }
    interim(step, response)?;
    body(step, token, response)
}

fn was_sent_once(response: &Response) -> Verdict {
    let numbers = response.fields.get("request-numbers").unwrap_or_default();
    let mut numbers: Vec<_> = numbers.split_whitespace().collect();
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    check(numbers.len() == all, Class::Setup, || "retry".to_owned())
}

fn expected_type(step: &Step, number: i64, response: &Response) -> Verdict {
    let class = step.class("expected_type");
    let count = response.fields.number("server-request-count");
    match step.expected_type {
        Some(ExpectedType::Cached) => {
            let holds = match count {
                Some(count) => count < number,
                None => response.status == 304,
            };
            check(holds, class, || {
                format!("response {number} is not from the store")
            })
        }
        Some(ExpectedType::NotCached) => check(count == Some(number), class, || {
            let count = count.map_or_else(|| "none".to_owned(), |count| count.to_string());
            format!("response {number} is not from the origin, but {count}")
        }),
        _ => Ok(()),
    }
}

fn status(step: &Step, response: &Response) -> Verdict {
    let status = response.status;
    let is = |expected: u16, class| {
        check(status == expected, class, || {
            format!("the status is {status}, not {expected}")
        })
    };
    match (step.expected_status, &step.response_status) {
        (Some(None), _) => Ok(()),
        (Some(Some(expected)), _) => is(expected, step.class("expected_status")),
        (None, Some((expected, _))) => is(*expected, Class::Setup),
        (None, None) if status == 999 => Err(Failure::new(
            step.class("expected_type"),
            "the request to the origin was not conditional",
        )),
        (None, None) => is(200, Class::Setup),
    }
}

fn field(step: &Step, expected: &ExpectedField, response: &Response) -> Verdict {
    let class = step.class("expected_response_headers");
    let fields = &response.fields;
    match expected {
        ExpectedField::Present(name) => {
            check(fields.has(name), class, || format!("{name} is missing"))
        }
        ExpectedField::Equal(name, value) => {
            let base = fields.get("server-base-url").unwrap_or_default();
            let value = step.resolve(name, value, fields.number("server-now"), &base);
            let found = fields.get(name);
            check(found.as_ref() == Some(&value), class, || {
                format!("{name} is {found:?}, not {value:?}")
            })
        }
        ExpectedField::Compared(name, operator, other) => {
            let holds = match &**operator {
                ">" => {
                    let other = other.text("", step.moment(None)).parse();
                    matches!((fields.number(name), other), (Some(a), Ok(b)) if a > b)
                }
                "=" => {
                    let other = fields.get(&other.text("", step.moment(None)));
                    fields.has(name) && fields.get(name) == other
                }
                _ => false,
            };
            check(holds, class, || {
                format!("{name} is {:?}, not {operator} {other:?}", fields.get(name))
            })
        }
    }
}

fn missing_field(step: &Step, expected: &NameOrPair, response: &Response) -> Verdict {
    match expected {
        NameOrPair::Name(name) => {
            let class = step.class("expected_response_headers_missing");
            check(!response.fields.has(name), class, || {
                format!("{name} is there")
            })
        }
        // Never evaluated by the original, so a pass means the same.
        NameOrPair::Pair(..) => Ok(()),
    }
}

fn interim(step: &Step, response: &Response) -> Verdict {
    let Some(expected) = &step.expected_interim_responses else {
        return Ok(());
    };
    let class = step.class("expected_interim_responses");
    let got: Vec<_> = response.interim.iter().map(|(status, _)| *status).collect();
    let statuses: Vec<_> = expected.iter().map(|interim| interim.status).collect();
    check(got == statuses, class, || {
        format!("interim responses are {got:?}, not {statuses:?}")
    })?;
    for (expected, (_, fields)) in expected.iter().zip(&response.interim) {
        // Names only, as the original does.
        for (name, _) in &expected.fields {
            check(fields.has(name), class, || {
                format!("{name} is missing in an interim response")
            })?;
        }
    }
    Ok(())
}

fn body(step: &Step, token: &str, response: &Response) -> Verdict {
    let is = |expected: &str, class| {
        check(response.body == expected, class, || {
            format!("the body is {:?}, not {expected:?}", response.body)
        })
    };
    match (&step.expected_response_text, &step.response_body) {
        _ if step.check_body == Some(false) => Ok(()),
        (Some(None), _) => Ok(()),
        (Some(Some(text)), _) => is(text, step.class("expected_response_text")),
        (None, Some(text)) => is(text, Class::Setup),
        (None, None) if matches!(response.status, 204 | 304) || step.method() == "HEAD" => Ok(()),
        (None, None) => is(token, Class::Setup),
    }
}

/// Judges what the origin was asked: each request that is not to be answered from the store is
/// compared with the next record, whatever its number.
pub(crate) fn records(steps: &[Step], responses: &[Response], records: &[Record]) -> Verdict {
    let mut records = records.iter();
    for (number, (step, response)) in (1..).zip(steps.iter().zip(responses)) {
        if step.expected_type != Some(ExpectedType::Cached) {
            let record = records.next();
            request(step, number, record)?;
            if let Some(record) = record {
                unchanged(record, response)?;
            }
            if let Some(expected) = &step.expected_method {
                let method = &need(record)?.request_method;
                check(method == expected, step.class("expected_method"), || {
                    format!("the method of request {number} is {method}, not {expected}")
                })?;
            }
        }
    }
    Ok(())
}

fn request(step: &Step, number: i64, record: Option<&Record>) -> Verdict {
    let class = step.class("expected_type");
    let condition = match step.expected_type {
        Some(ExpectedType::NotCached) => {
            let sent = need(record)?.request_num;
            check(sent == Some(number), class, || {
                format!("request {number} did not reach the origin, but {sent:?}")
            })?;
            None
        }
        Some(ExpectedType::EtagValidated) => Some("if-none-match"),
        Some(ExpectedType::LmValidated) => Some("if-modified-since"),
        _ => None,
    };
    if let Some(condition) = condition {
        let is_there = record.is_some_and(|record| record.request_headers.contains_key(condition));
        check(is_there, class, || {
            format!("request {number} has no {condition} at the origin")
        })?;
    }
    for expected in &step.expected_request_headers {
        let class = step.class("expected_request_headers");
        let (holds, expected) = has(need(record)?, expected);
        check(holds, class, || {
            format!("request {number} does not have {expected} at the origin")
        })?;
    }
    for expected in &step.expected_request_headers_missing {
        let class = step.class("expected_request_headers_missing");
        let (holds, expected) = has(need(record)?, expected);
        check(!holds, class, || {
            format!("request {number} has {expected} at the origin")
        })?;
    }
    Ok(())
}

fn need(record: Option<&Record>) -> Result<&Record, Failure> {
    record.ok_or_else(|| Failure::new(Class::Broken, "the origin was asked less often"))
}

/// Whether a record has a field, and the field.
fn has(record: &Record, expected: &NameOrPair) -> (bool, String) {
    let value = |name: &str| record.request_headers.get(&name.to_ascii_lowercase());
    match expected {
        NameOrPair::Name(name) => (value(name).is_some(), name.clone()),
        NameOrPair::Pair(name, text) => {
            let text = text.text("", Step::default().moment(None));
            (value(name) == Some(&text), format!("{name}: {text}"))
        }
    }
}

/// The client has to have got what the origin sent.
fn unchanged(record: &Record, response: &Response) -> Verdict {
    for (name, lines) in &record.response_headers {
        if name.eq_ignore_ascii_case("date") {
            continue;
        }
        let sent = lines.join(", ");
        let got = response.fields.get(name);
        check(got.as_ref() == Some(&sent), Class::Setup, || {
            format!("{name} was {sent:?} at the origin, and is {got:?}")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fields::Fields;

    fn step(json: Value) -> Step {
        serde_json::from_value(json).expect("a step")
    }

    /// A response to the second request, with these fields.
    fn got(status: u16, fields: &[(&str, &str)]) -> Response {
        let mut response = Response {
            status,
            interim: Vec::new(),
            fields: Fields::default(),
            body: "token".to_owned(),
        };
        for (name, value) in fields {
            response.fields.push(name, *value);
        }
        response
    }

    fn class(json: Value, got: &Response) -> Option<Class> {
        let verdict = response(&step(json), 2, "token", got);
        verdict.err().map(|failure| failure.class)
    }

    #[test]
    fn a_response_is_from_the_store_if_the_origin_made_it_for_an_earlier_request() {
        let cached = json!({ "expected_type": "cached" });
        let not_cached = json!({ "expected_type": "not_cached" });
        let [first, second] = ["1", "2"].map(|count| got(200, &[("server-request-count", count)]));
        assert_eq!(class(cached.clone(), &first), None);
        assert_eq!(class(cached.clone(), &second), Some(Class::Assertion));
        assert_eq!(class(not_cached.clone(), &first), Some(Class::Assertion));
        assert_eq!(class(not_cached.clone(), &second), None);
        assert_eq!(class(cached, &got(502, &[])), Some(Class::Assertion));
        assert_eq!(class(not_cached, &got(502, &[])), Some(Class::Assertion));
    }

    #[test]
    fn what_is_preparation_fails_as_such() {
        let first = got(200, &[("server-request-count", "1")]);
        let all = json!({ "expected_type": "not_cached", "setup": true });
        assert_eq!(class(all, &first), Some(Class::Setup));
        let one = json!({ "expected_type": "not_cached", "setup_tests": ["expected_type"] });
        assert_eq!(class(one, &first), Some(Class::Setup));
    }

    #[test]
    fn a_request_that_was_sent_twice_is_a_failed_preparation() {
        let twice = got(200, &[("request-numbers", "1 2 2")]);
        let failure = response(&step(json!({})), 2, "token", &twice).expect_err("a retry");
        assert_eq!(failure, Failure::new(Class::Setup, "retry"));
    }

    #[test]
    fn the_status_is_what_is_expected_or_sent_or_200() {
        assert_eq!(
            class(json!({ "expected_status": null }), &got(404, &[])),
            None
        );
        let expected = json!({ "expected_status": 304 });
        assert_eq!(class(expected, &got(200, &[])), Some(Class::Assertion));
        let sent = json!({ "response_status": [404, "Not Found"] });
        assert_eq!(class(sent, &got(200, &[])), Some(Class::Setup));
        assert_eq!(class(json!({}), &got(502, &[])), Some(Class::Setup));
        let validated = json!({ "expected_type": "etag_validated" });
        assert_eq!(class(validated, &got(999, &[])), Some(Class::Assertion));
    }

    #[test]
    fn dates_count_from_the_time_of_the_response_that_came() {
        let expected = json!({ "expected_response_headers": [["Date", 0]] });
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let right = got(200, &[("server-now", "784111777900"), date]);
        assert_eq!(class(expected.clone(), &right), None);
        let wrong = got(200, &[("server-now", "784111778000"), date]);
        assert_eq!(class(expected, &wrong), Some(Class::Assertion));
    }

    #[test]
    fn records_are_compared_in_order_and_not_by_number() {
        let steps = [
            step(json!({ "expected_type": "cached" })),
            step(json!({ "expected_type": "not_cached" })),
        ];
        let responses = [got(200, &[]), got(200, &[])];
        let record = |number| Record {
            request_num: Some(number),
            request_method: "GET".to_owned(),
            request_headers: Default::default(),
            response_headers: Vec::new(),
        };
        let judge = |list: &[Record]| records(&steps, &responses, list).err();
        assert_eq!(judge(&[record(2)]), None);
        let failure = judge(&[record(1), record(2)]).expect("the wrong record");
        assert_eq!(failure.class, Class::Assertion);
        assert_eq!(judge(&[]).expect("no record").class, Class::Broken);
    }
}
