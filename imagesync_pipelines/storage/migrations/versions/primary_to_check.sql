-- Which products have images or a pin that somebody else's hand wrote: a run looks at these and at no others.

CREATE FUNCTION imagesync.note_other_hands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- What keeps the primaries right itself says so in its transaction.
    IF current_setting('imagesync.keeps_primaries', true) = 'yes' THEN
        RETURN NULL;
    END IF;
    INSERT INTO imagesync.primary_to_check (product_id) SELECT DISTINCT product_id FROM changed;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO imagesync.primary_to_check (product_id)
        SELECT DISTINCT b.product_id FROM before b
         WHERE NOT EXISTS (SELECT FROM changed c WHERE c.product_id = b.product_id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER other_hands_new_images AFTER INSERT ON imagesync.product_image
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.note_other_hands();
CREATE TRIGGER other_hands_gone_images AFTER DELETE ON imagesync.product_image
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.note_other_hands();
CREATE TRIGGER other_hands_changed_images AFTER UPDATE ON imagesync.product_image
    REFERENCING NEW TABLE AS changed OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION imagesync.note_other_hands();
CREATE TRIGGER other_hands_new_pins AFTER INSERT ON imagesync.pin
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.note_other_hands();
CREATE TRIGGER other_hands_changed_pins AFTER UPDATE ON imagesync.pin
    REFERENCING NEW TABLE AS changed OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION imagesync.note_other_hands();
