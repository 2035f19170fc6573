-- A person's order of a product's pictures is part of what is told of it, and of every product that shows them.
CREATE FUNCTION imagesync.show_orders() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = imagesync, pg_temp AS $$
DECLARE
    told bigint[];
BEGIN
    SELECT array_agg(id) INTO told
      FROM (SELECT product_id AS id FROM changed
             UNION
            SELECT s.product_id FROM changed c JOIN imagesync.shown_image s ON s.owner_id = c.product_id
             UNION
            SELECT s.product_id FROM changed c JOIN imagesync.shown_image s ON s.own_first_id = c.product_id
                                                                           AND s.own_first_id <> s.owner_id) AS every;
    IF told IS NOT NULL THEN
        PERFORM imagesync.lock_shown_images();
        PERFORM imagesync.refresh_shown_images('{}', told);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER shown_of_new_orders AFTER INSERT ON imagesync.picture_order
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_orders();
CREATE TRIGGER shown_of_gone_orders AFTER DELETE ON imagesync.picture_order
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_orders();
CREATE TRIGGER shown_of_changed_orders AFTER UPDATE ON imagesync.picture_order
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_orders();
CREATE TRIGGER other_hands_new_orders AFTER INSERT ON imagesync.picture_order
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.note_other_hands();
CREATE TRIGGER other_hands_changed_orders AFTER UPDATE ON imagesync.picture_order
    REFERENCING NEW TABLE AS changed OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION imagesync.note_other_hands();
