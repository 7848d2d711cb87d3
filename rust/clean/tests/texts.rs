//! Repairs and masks: what changes, and what must not.

use fastft_clean::{CleanPlan, Cleaner, Verdict};
use fastft_record::Document;
use serde_json::{Value, json};

fn cleaned(plan: Value, text: &str) -> (String, Vec<&'static str>) {
    let cleaner = Cleaner::new(&serde_json::from_value::<CleanPlan>(plan).unwrap()).unwrap();
    let mut document = Document::Text(text.into());
    let Verdict::Keep { changed } = cleaner.apply(&mut document) else { panic!("{text} is dropped") };
    let Document::Text(text) = document else { panic!("no text") };
    (text, changed)
}

#[test]
fn each_repair_has_a_name_and_can_be_turned_off() {
    for (name, option, text, repaired) in [
        ("repair.mojibake", "mojibake", "Itâ€™s a cafÃ©", "It’s a café"),
        ("repair.control", "control", "a\u{0}b\u{7f}c\u{92}s\td\u{85}e", "abc’s\td\ne"),
        ("repair.zero_width", "zero_width", "\u{feff}a\u{200b}b\u{200d}c\u{2060}", "abc"),
    ] {
        assert_eq!(cleaned(json!({"repair": {}}), text), (repaired.to_owned(), vec![name]));
        let (same, changed) = cleaned(json!({"repair": {option: false}}), text);
        assert!(!changed.contains(&name) && same != repaired, "{option}");
    }
    assert_eq!(cleaned(json!({"repair": {"nfc": true}}), "e\u{301}"), ("é".to_owned(), vec!["repair.nfc"]));
    assert_eq!(cleaned(json!({"repair": {}}), "e\u{301}").1, Vec::<&str>::new());
}

#[test]
fn lost_bytes_drop_a_row() {
    let cleaner = |plan| Cleaner::new(&serde_json::from_value::<CleanPlan>(plan).unwrap()).unwrap();
    let text = || Document::Text("a\u{fffd}b and some".into());
    let verdict = cleaner(json!({"repair": {}})).apply(&mut text());
    assert_eq!(verdict.rule(), Some("repair.replacement"));
    assert_eq!(cleaner(json!({"repair": {"max_replacement": 0.5}})).apply(&mut text()).rule(), None);
}

#[test]
fn joiners_and_breaks_of_other_scripts_stay() {
    for text in
        ["👨\u{200d}👩\u{200d}👧", "می\u{200c}خواهم", "ភាសា\u{200b}ខ្មែរ", "क्\u{200d}ष", "tabs\tand\r\nlines"]
    {
        assert_eq!(cleaned(json!({"repair": {}}), text), (text.to_owned(), vec![]), "{text}");
    }
}

const DATA: &[(&str, &str, &str)] = &[
    ("email", "write to jane.doe+x@mail.uni-bonn.de!", "write to [EMAIL]!"),
    ("email", "邮箱：zhang@qq.com，谢谢", "邮箱：[EMAIL]，谢谢"),
    ("phone", "call +49 30 901820 now", "call [PHONE] now"),
    ("phone", "call (212) 736-5000 or 415.867.5309.", "call [PHONE] or [PHONE]."),
    ("phone", "电话13812345678。", "电话[PHONE]。"),
    ("ip", "from 93.184.216.34:80 came", "from [IP]:80 came"),
    ("ip", "at 2a00:1450:4001:81b::200e now", "at [IP] now"),
    ("ip", "at 2606:2800:220:1:248:1893:25c8:1946.", "at [IP]."),
    ("credit_card", "card 4111 1111 1111 1111, thanks", "card [CREDIT_CARD], thanks"),
    ("credit_card", "amex 378282246310005", "amex [CREDIT_CARD]"),
    ("iban", "to DE89 3704 0044 0532 0130 00.", "to [IBAN]."),
    ("iban", "GB82WEST12345698765432", "[IBAN]"),
    ("us_ssn", "SSN: 219-09-9999", "SSN: [US_SSN]"),
    ("cn_id", "身份证11010519491231002X。", "身份证[CN_ID]。"),
    ("secret", "key AKIAIOSFODNN7EXAMPLE end", "key [SECRET] end"),
    ("secret", "token=ghp_abcdefghijklmnopqrstuvwxyz0123456789", "token=[SECRET]"),
    ("secret", "sk-proj-abcDEF1234567890abcDEF12", "[SECRET]"),
];

#[test]
fn personal_data_is_masked_by_kind() {
    for (kind, text, masked) in DATA {
        let rule = format!("pii.{kind}");
        let (out, changed) = cleaned(json!({"pii": {}}), text);
        assert_eq!((out.as_str(), changed), (*masked, vec![rule.as_str()]), "{text}");
        let (out, _) = cleaned(json!({"pii": {"kinds": [kind]}}), text);
        assert_eq!(&out, masked, "{kind} alone");
        let others: Vec<&str> =
            DATA.iter().map(|each| each.0).filter(|other| other != kind && *other != "phone").collect();
        let (out, _) = cleaned(json!({ "pii": { "kinds": others } }), text);
        assert_eq!(&out, text, "without {kind}");
    }
}

#[test]
fn numbers_that_name_nobody_stay() {
    for text in [
        "version 1.2.3.4 and v10.20.30.40, pkg==1.22.3.4",
        "section 4.10.2.11 says",
        "1.2.3.4",
        "localhost is 127.0.0.1, the router 192.168.1.1, 10.0.0.12",
        "at 12:30:45 on 2024-01-15, 10:20:30:40",
        "std::vec::Vec and a::b, fe80::1",
        "card 4111 1111 1111 1112",
        "0000 0000 0000 0000",
        "IBAN DE89 3704 0044 0532 0130 01",
        "110105194912310021",
        "order 000-12-3456, 2024-12-1234",
        "pi is 3.14159265358979323846",
        "1 + 2345678901 = 2345678902",
        "1234567890123456789012345",
        "the years 1990-2000-2010",
        "user@example.com @someone icon@2x.png",
        "git@github and foo@bar",
        "sk-learn and sk-aaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
        "0xdeadbeefcafebabe0123456789abcdef",
    ] {
        assert_eq!(cleaned(json!({"pii": {}}), text), (text.to_owned(), vec![]), "{text}");
    }
}

#[test]
fn personal_data_drops_a_row_when_asked_and_is_not_told() {
    let plan = serde_json::from_value(json!({"pii": {"action": "drop"}})).unwrap();
    let verdict = Cleaner::new(&plan).unwrap().apply(&mut Document::Text("me: jane@mail.org".into()));
    let Verdict::Drop { rule, detail } = verdict else { panic!("kept") };
    assert_eq!(rule, "pii.email");
    assert!(!detail.contains("jane"));
    let plan = serde_json::from_value(json!({"pii": {"kinds": ["shoe_size"]}})).unwrap();
    assert!(Cleaner::new(&plan).err().unwrap().to_string().contains("`shoe_size`"));
}
