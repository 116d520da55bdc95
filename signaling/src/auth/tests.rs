//! Tokens that an issuer, a careless one or a hostile one would send.

use super::*;
use crate::protocol::Source;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

const SECRET: &str = "correct horse battery staple, and more";
const LEEWAY: Duration = Duration::from_secs(60);

/// Some Saturday.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn at(offset: i64) -> i64 {
    1_800_000_000 + offset
}

fn keys() -> Keys {
    let mut keys = Keys::default();
    keys.add_secret("main", SECRET).unwrap();
    keys
}

fn authority(keys: Keys) -> Authority {
    Authority::new(Policy { keys, open: false, leeway: LEEWAY, audience: None }, Arc::default())
}

/// A token with any header and claims, signed by the secret as HS256 does.
fn forge(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let signature = BASE64URL.encode(ring::hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

fn token(claims: &Value) -> String {
    forge(&json!({"alg": "HS256", "typ": "JWT", "kid": "main"}), claims, SECRET.as_bytes())
}

fn admit(claims: &Value) -> Result<Grants, TokenError> {
    authority(keys()).admit(Some(&token(claims)), now())
}

#[test]
fn a_token_grants_what_it_says_and_defaults_to_a_full_participant() {
    let grants = admit(&json!({"exp": at(60), "sub": "ada", "name": "Ada", "sluice": {"room": "daily"}})).unwrap();
    let full = Grants::everything();
    let (identity, name) = (Some("ada".to_owned()), Some("Ada".to_owned()));
    assert_eq!(grants, Grants { identity, name, room: RoomGrant::Named("daily".into()), admin: false, ..full });
    assert!(grants.allows_room("daily") && !grants.allows_room("Daily"));

    let grants = admit(&json!({"exp": at(60), "sluice": {"room": "*", "publish": ["camera", "screen-audio"],
        "subscribe": false, "data": false, "admin": true, "metadata": {"seat": 7}}}));
    let grants = grants.unwrap();
    assert!(grants.allows_room("any"));
    assert!(grants.may_publish(Source::Camera) && grants.may_publish(Source::ScreenAudio));
    assert!(!grants.may_publish(Source::Microphone) && !grants.may_publish(Source::Screen));
    assert!(!grants.subscribe && !grants.data && grants.admin);
    assert_eq!(grants.metadata, Some(json!({"seat": 7})));

    let grants = admit(&json!({"exp": at(60), "sluice": {"room": "*", "hidden": true}})).unwrap();
    assert!(!grants.may_publish(Source::Camera) && grants.publishable().next().is_none(), "others would see it");
    let silent = admit(&json!({"exp": at(60), "sluice": {"room": "*", "publish": false}})).unwrap();
    assert_eq!(silent.publishable().count(), 0);
}

#[test]
fn times_have_a_leeway_and_errors_say_by_how_much() {
    let claims = |exp: i64, nbf: i64| json!({"exp": at(exp), "nbf": at(nbf), "sluice": {"room": "*"}});
    assert!(admit(&claims(-59, 0)).is_ok(), "59 s late, within leeway");
    assert!(admit(&claims(600, 60)).is_ok(), "60 s early, within leeway");
    let late = admit(&claims(-180, -600)).unwrap_err();
    assert_eq!((late.code(), late.to_string().as_str()), ("token-expired", "the access token expired 3 minutes ago"));
    assert_eq!(admit(&claims(-60, -600)).unwrap_err().code(), "token-expired", "the leeway ends");
    let early = admit(&claims(90_000, 3 * 3600)).unwrap_err();
    assert_eq!(early.code(), "token-not-yet-valid");
    assert_eq!(early.to_string(), "the access token is valid only in 3 hours");
    assert_eq!(admit(&claims(600, 61)).unwrap_err().code(), "token-not-yet-valid");
    assert_eq!(admit(&json!({"sluice": {"room": "*"}})).unwrap_err(), TokenError::NoExpiry);
    // Absurd times are no reason to panic.
    assert!(admit(&json!({"exp": 1e300, "sluice": {"room": "*"}})).is_ok());
    assert_eq!(admit(&json!({"exp": -1e300, "sluice": {"room": "*"}})).unwrap_err().code(), "token-expired");
}

#[test]
fn a_token_chooses_neither_its_algorithm_nor_a_way_around_the_signature() {
    let claims = json!({"exp": at(60), "sluice": {"room": "*"}});
    let code = |token: &str| authority(keys()).admit(Some(token), now()).unwrap_err().code();
    for alg in ["none", "None", "NONE", "nOnE", "HS512", "PS256", ""] {
        let forged = forge(&json!({"alg": alg, "kid": "main"}), &claims, SECRET.as_bytes());
        assert_eq!(code(&forged), "token-algorithm", "{alg}");
        let bare = forged.rsplit_once('.').unwrap().0.to_owned() + ".";
        assert_eq!(code(&bare), "token-algorithm", "{alg}, without a signature");
    }
    let good = token(&claims);
    let (message, _) = good.rsplit_once('.').unwrap();
    assert_eq!(code(&format!("{message}.")), "token-signature", "none at all");
    assert_eq!(code(&format!("{message}.AAAA")), "token-signature");
    let other = forge(&json!({"alg": "HS256", "kid": "main"}), &claims, b"another secret of 32 bytes or more");
    assert_eq!(code(&other), "token-signature");
    let (head, _) = message.split_once('.').unwrap();
    let swapped = BASE64URL.encode(json!({"exp": at(60), "sluice": {"room": "*", "admin": true}}).to_string());
    assert_eq!(code(&good.replacen(message, &format!("{head}.{swapped}"), 1)), "token-signature", "other claims");
}

/// The classic: the server's public key is public, so a token HMACed with it must not pass as signed.
#[test]
fn a_public_key_is_no_shared_secret() {
    let (whole, public) = Keys::new_ed25519("site");
    let mut server = Keys::default();
    server.add_jwks(&public.to_string()).unwrap();
    let claims = json!({"exp": at(60), "sluice": {"room": "*"}});
    let x = public["keys"][0]["x"].as_str().unwrap();
    let server = authority(server);
    for secret in [x.as_bytes(), &BASE64URL.decode(x).unwrap(), public.to_string().as_bytes()] {
        for (header, code) in [
            (json!({"alg": "HS256", "kid": "site"}), "token-algorithm"),
            (json!({"alg": "HS256"}), "token-unknown-key"),
            (json!({"alg": "EdDSA", "kid": "site"}), "token-signature"),
            (json!({"alg": "EdDSA"}), "token-signature"),
        ] {
            let error = server.admit(Some(&forge(&header, &claims, secret)), now()).unwrap_err();
            assert_eq!(error.code(), code, "{header}");
        }
    }
    // With the private half it passes, and the other way round a shared secret signs nothing for that key.
    let mut issuer = Keys::default();
    issuer.add_jwks(&whole.to_string()).unwrap();
    let signed = issuer.sign(None, &serde_json::from_value(claims).unwrap()).unwrap();
    assert!(server.admit(Some(&signed), now()).is_ok());
    let error = authority(keys()).admit(Some(&signed), now()).unwrap_err();
    assert_eq!(error, TokenError::UnknownKey { key: "site".into() });
}

#[test]
fn what_an_identity_provider_publishes_is_read() {
    // RFC 7515 appendix A.2 (RS256) and A.3 (ES256), keys and signatures; and what a real set also has.
    let rsa_n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let set = json!({"keys": [
        {"kty": "RSA", "kid": "for-encryption", "use": "enc", "alg": "RSA-OAEP", "n": rsa_n, "e": "AQAB"},
        {"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": rsa_n, "e": "AQAB", "x5t": "abc"},
        {"kty": "EC", "kid": "ec", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kty": "from the future", "kid": "x"},
    ]});
    let mut server = Keys::default();
    server.add_jwks(&set.to_string()).unwrap();
    assert_eq!(format!("{server:?}"), r#"[(Some("rsa"), "RS256"), (Some("ec"), "ES256")]"#);
    let rs256 = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let es256 = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let server = authority(server);
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_300_819_000);
    for good in [rs256, es256] {
        let error = server.admit(Some(good), then).unwrap_err();
        assert_eq!(
            error,
            TokenError::BadGrants { why: "the claim `sluice` is missing".into() },
            "the signature is good"
        );
        let (head, rest) = good.split_at(60);
        let other = if rest.starts_with('A') { "B" } else { "A" };
        let bent = format!("{head}{other}{}", &rest[1..]);
        assert_eq!(server.admit(Some(&bent), then).unwrap_err().code(), "token-signature");
    }
}

#[test]
fn misspelled_grants_are_errors_since_they_would_restrict_nothing() {
    for sluice in [
        json!({"room": "a", "publsh": false}),
        json!({"room": "a", "publish": ["webcam"]}),
        json!({"room": "a", "subscribe": "no"}),
        json!({}),
        json!("a"),
    ] {
        let error = admit(&json!({"exp": at(60), "sluice": sluice})).unwrap_err();
        assert_eq!(error.code(), "token-grants", "{sluice}: {error}");
    }
    let error = admit(&json!({"exp": at(60), "sluice": {"room": "a", "publish": 1}})).unwrap_err().to_string();
    assert!(error.contains("\"camera\""), "{error}");
    let provider = json!({"exp": at(60), "admin": true, "room": "a", "publish": true});
    assert_eq!(admit(&provider).unwrap_err().code(), "token-grants", "another claim grants nothing");
}

#[test]
fn the_audience_must_agree_on_both_sides() {
    let claims = |aud: Value| json!({"exp": at(60), "aud": aud, "sluice": {"room": "*"}});
    let strict = Authority::new(
        Policy { keys: keys(), open: false, leeway: LEEWAY, audience: Some("sluice".into()) },
        Arc::default(),
    );
    let ask = |claims: &Value| strict.admit(Some(&token(claims)), now()).map(drop).map_err(|e| e.code());
    assert_eq!(ask(&claims(json!("sluice"))), Ok(()));
    assert_eq!(ask(&claims(json!(["mail", "sluice"]))), Ok(()));
    assert_eq!(ask(&claims(json!("mail"))), Err("token-audience"));
    assert_eq!(ask(&json!({"exp": at(60), "sluice": {"room": "*"}})), Err("token-audience"));
    assert_eq!(admit(&claims(json!("mail"))).unwrap_err().code(), "token-audience", "for another service");
}

#[test]
fn a_token_for_one_room_opens_no_other() {
    let token = token(&json!({"exp": at(60), "sluice": {"room": "daily"}}));
    let server = authority(keys());
    assert!(server.admit_to("daily", Some(&token), now()).is_ok());
    let error = server.admit_to("board", Some(&token), now()).unwrap_err();
    assert_eq!(error.to_string(), "the access token is for the room \"daily\", not for \"board\"");
    assert_eq!((error.code(), error.http_status()), ("token-wrong-room", 403));
}

#[test]
fn only_an_open_server_takes_callers_without_a_token() {
    let open = |keys: Keys| Authority::new(Policy { keys, open: true, leeway: LEEWAY, audience: None }, Arc::default());
    let closed = authority(keys());
    for nothing in [None, Some("")] {
        assert_eq!(closed.admit(nothing, now()).unwrap_err(), TokenError::Missing);
        assert_eq!(authority(Keys::default()).admit(nothing, now()).unwrap_err(), TokenError::Missing);
        assert_eq!(open(Keys::default()).admit(nothing, now()), Ok(Grants::everything()));
        assert!(!open(keys()).admit(nothing, now()).unwrap().admin, "keys decide who manages");
    }
    let spent = token(&json!({"exp": at(-600), "sluice": {"room": "*"}}));
    assert_eq!(
        open(keys()).admit(Some(&spent), now()).unwrap_err().code(),
        "token-expired",
        "who shows one is checked"
    );

    closed.replace(Policy { keys: Keys::default(), open: true, leeway: LEEWAY, audience: None });
    assert!(closed.admit(None, now()).is_ok(), "a new policy counts at once");
}

#[test]
fn what_is_no_token_is_said_to_be_none_and_quoted_in_moderation() {
    let server = authority(keys());
    for text in ["x", "a.b", "a.b.c.d", "!!.e30.AA", "e30.e30.AA", "bm90IGpzb24.e30.AA", ".."] {
        assert_eq!(server.admit(Some(text), now()).unwrap_err().code(), "token-malformed", "{text}");
    }
    let long = forge(&json!({"alg": "HS256", "kid": "k".repeat(5000)}), &json!({}), b"");
    let error = server.admit(Some(&long), now()).unwrap_err();
    assert_eq!(error.code(), "token-unknown-key");
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn keys_that_protect_nothing_are_refused() {
    let mut keys = keys();
    assert_eq!(keys.add_secret("short", "secret"), Err(KeyError::ShortSecret(6)));
    assert_eq!(keys.add_secret("main", SECRET), Err(KeyError::Twice("main".into())));
    assert!(matches!(keys.add_jwks("{}"), Err(KeyError::NotAKeySet(_))));
    assert_eq!(keys.add_jwks(r#"{"keys": [{"kty": "oct", "k": "c2hvcnQ"}]}"#), Err(KeyError::NoUsableKey));
    assert!(Keys::new_secret().len() >= 32 && Keys::new_secret() != Keys::new_secret());
    assert!(!format!("{keys:?}").contains(SECRET));
}

#[test]
fn what_is_minted_is_admitted() {
    let keys = keys();
    let grants = Grants {
        room: RoomGrant::Named("daily".into()),
        publish: [Source::Microphone].into_iter().collect(),
        admin: false,
        metadata: Some(json!([1])),
        ..Grants::everything()
    };
    let minted = keys.sign(Some("main"), &Claims::new(grants.clone(), now() + Duration::from_secs(9))).unwrap();
    assert_eq!(
        keys.sign(Some("other"), &Claims::new(grants.clone(), now())),
        Err(KeyError::CannotSign(Some("other".into())))
    );
    assert_eq!(authority(keys).admit(Some(&minted), now()), Ok(grants));
}
