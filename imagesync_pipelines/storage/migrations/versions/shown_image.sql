-- Who shows whose images is a table. Triggers keep it right whoever writes products, images or pins, once per statement
-- and for the products that are concerned; a statement that changes nothing of it costs nothing.

-- Every join is by an index: in a first load the statistics know nothing of what was just written, and a plan that reads
-- whole tables would read them once per batch.

-- Make the table right for these products, and mark the change of those that it is about, and of all that are `told`.
-- Article numbers are tried in order and the first that has images wins. Only products that the ERP has lend theirs.
CREATE FUNCTION imagesync.refresh_shown_images(asked bigint[], told bigint[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    INSERT INTO imagesync.shown_image (product_id, owner_id, own_first_id, lent_image_id, changed_at)
    SELECT p.id, coalesce(o.owner_id, v.owner_id), coalesce(o.own_first_id, v.owner_id), v.lent_image_id, now()
      FROM (SELECT DISTINCT unnest(asked) AS id) AS a
      JOIN imagesync.product p USING (id) LEFT JOIN imagesync.product parent ON parent.id = p.parent_id
      LEFT JOIN imagesync.shown_image known ON known.product_id = p.id
     CROSS JOIN LATERAL (
        SELECT (array_agg(lender.id ORDER BY step, own_first DESC, lender.kind DESC, lender.id))[1] AS owner_id,
               (array_agg(lender.id ORDER BY step_own_first, own_first DESC, lender.kind DESC, lender.id))[1]
                   AS own_first_id
          FROM (VALUES
                -- A variant's own SKU is the second number, or the first where own images come first.
                (p.sku, 2, 0),
                (CASE WHEN p.kind = 'variant' THEN parent.sku END, 1, 1),
                -- The base SKU stands in for a parent that is not known.
                (CASE WHEN p.kind = 'variant' THEN p.base_sku END, CASE WHEN p.parent_id IS NULL THEN 1 ELSE 3 END, 3)
               ) AS tried (number, step, step_own_first)
          JOIN imagesync.product lender ON lender.sku = tried.number AND tried.number <> ''
         CROSS JOIN LATERAL (SELECT p.left_erp_at IS NOT NULL AND lender.id = p.id AS own_first) AS itself
         WHERE (lender.left_erp_at IS NULL OR lender.id = p.id)
           AND (SELECT true FROM imagesync.product_image i WHERE i.product_id = lender.id LIMIT 1)
     ) AS o
      LEFT JOIN LATERAL (
        -- For a product without images the one of a variant: BE first, then the best kind of picture.
        SELECT lender.id AS owner_id, i.id AS lent_image_id
          FROM imagesync.product lender JOIN imagesync.product_image i ON i.product_id = lender.id
         WHERE lender.parent_id = p.id AND lender.left_erp_at IS NULL AND o.owner_id IS NULL
         ORDER BY lender.variant_code IS DISTINCT FROM 'BE',
               CASE WHEN lower(btrim(i.image_type)) = 'produktfoto'
                    THEN CASE WHEN i.is_primary AND i.is_front THEN 1 WHEN i.is_primary THEN 2
                              WHEN i.is_front THEN 3 ELSE 4 END
                    WHEN i.is_primary THEN 5 ELSE 6 END,
               lender.sku, i.id
         LIMIT 1
     ) AS v ON true
     WHERE (coalesce(o.owner_id, v.owner_id), coalesce(o.own_first_id, v.owner_id), v.lent_image_id)
           IS DISTINCT FROM (known.owner_id, known.own_first_id, known.lent_image_id)
    ON CONFLICT (product_id) DO UPDATE
       SET owner_id = EXCLUDED.owner_id, own_first_id = EXCLUDED.own_first_id, lent_image_id = EXCLUDED.lent_image_id,
           changed_at = EXCLUDED.changed_at;

    INSERT INTO imagesync.shown_image (product_id, changed_at)
    SELECT DISTINCT t.id, now() FROM unnest(told) AS t (id) JOIN imagesync.product USING (id)
    ON CONFLICT (product_id) DO UPDATE SET changed_at = EXCLUDED.changed_at;
END $$;

-- The products that may show the images of these: themselves, and who has their number, is of their family, or shows
-- them now. `numbers`: their SKUs, those they had too.
CREATE FUNCTION imagesync.may_show_images_of(touched bigint[], numbers text[]) RETURNS bigint[]
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
    WITH lenders AS (
        SELECT unnest(touched) AS id
         UNION
        SELECT p.id FROM unnest(numbers) AS n (number) JOIN imagesync.product p ON p.sku = n.number
    )
    SELECT coalesce(array_agg(every.id), '{}') FROM (
        SELECT id FROM lenders
         UNION
        SELECT p.id FROM lenders l JOIN imagesync.product p ON p.parent_id = l.id
         UNION
        SELECT p.parent_id FROM lenders l JOIN imagesync.product p USING (id) WHERE p.parent_id IS NOT NULL
         UNION
        SELECT p.id FROM unnest(numbers) AS n (number) JOIN imagesync.product p ON p.base_sku = n.number
         UNION
        SELECT s.product_id FROM unnest(touched) AS t (id) JOIN imagesync.shown_image s ON s.owner_id = t.id
         UNION
        SELECT s.product_id FROM unnest(touched) AS t (id) JOIN imagesync.shown_image s ON s.own_first_id = t.id
    ) AS every
$$;

-- One transaction at a time, until its end: who comes later sees what was written before, so nobody's word is old.
CREATE FUNCTION imagesync.lock_shown_images() RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(7593469716286734951)
$$;

CREATE FUNCTION imagesync.show_images() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched bigint[];
    numbers text[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- Only which of a variant's images stands for its parent may be another one.
        SELECT array_agg(DISTINCT p.parent_id) INTO touched
          FROM changed c JOIN before b USING (id) JOIN imagesync.product p ON p.id = c.product_id
         WHERE p.parent_id IS NOT NULL
           AND (c.is_primary, c.is_front, c.image_type) IS DISTINCT FROM (b.is_primary, b.is_front, b.image_type);
        IF touched IS NOT NULL THEN
            PERFORM imagesync.lock_shown_images();
            PERFORM imagesync.refresh_shown_images(touched, '{}');
        END IF;
        RETURN NULL;
    END IF;
    SELECT array_agg(p.id), array_agg(p.sku) INTO touched, numbers
      FROM imagesync.product p JOIN (SELECT DISTINCT product_id AS id FROM changed) AS c USING (id);
    IF touched IS NOT NULL THEN
        PERFORM imagesync.lock_shown_images();
        PERFORM imagesync.refresh_shown_images(imagesync.may_show_images_of(touched, numbers), '{}');
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION imagesync.show_images_of_products() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched bigint[];
    numbers text[];
    left_behind bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- A new product has nothing to lend yet.
        IF EXISTS (SELECT FROM changed) AND EXISTS (SELECT FROM imagesync.product_image) THEN
            PERFORM imagesync.lock_shown_images();
            PERFORM imagesync.refresh_shown_images((SELECT array_agg(id) FROM changed), '{}');
        END IF;
        RETURN NULL;
    END IF;
    SELECT array_agg(c.id), array_agg(c.sku) || array_agg(b.sku),
           array_agg(DISTINCT b.parent_id) FILTER (WHERE b.parent_id IS DISTINCT FROM c.parent_id AND b.parent_id IS NOT NULL)
      INTO touched, numbers, left_behind
      FROM changed c JOIN before b USING (id)
     WHERE (c.kind, c.sku, c.parent_id, c.variant_code, c.base_sku, c.left_erp_at IS NULL)
           IS DISTINCT FROM (b.kind, b.sku, b.parent_id, b.variant_code, b.base_sku, b.left_erp_at IS NULL);
    IF touched IS NOT NULL THEN
        left_behind := coalesce(left_behind, '{}');
        PERFORM imagesync.lock_shown_images();
        -- The family that a variant left is told, images or not.
        PERFORM imagesync.refresh_shown_images(
            imagesync.may_show_images_of(touched, numbers) || left_behind, left_behind);
    END IF;
    RETURN NULL;
END $$;

-- A person's choice is part of what is told of a product, also where it changes no primary.
CREATE FUNCTION imagesync.show_pins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        PERFORM imagesync.lock_shown_images();
        PERFORM imagesync.refresh_shown_images('{}', (SELECT array_agg(product_id) FROM changed));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER shown_of_new_images AFTER INSERT ON imagesync.product_image
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_images();
CREATE TRIGGER shown_of_gone_images AFTER DELETE ON imagesync.product_image
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_images();
CREATE TRIGGER shown_of_changed_images AFTER UPDATE ON imagesync.product_image
    REFERENCING NEW TABLE AS changed OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_images();
CREATE TRIGGER shown_of_new_products AFTER INSERT ON imagesync.product
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_images_of_products();
CREATE TRIGGER shown_of_changed_products AFTER UPDATE ON imagesync.product
    REFERENCING NEW TABLE AS changed OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_images_of_products();
CREATE TRIGGER shown_of_new_pins AFTER INSERT ON imagesync.pin
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_pins();
CREATE TRIGGER shown_of_gone_pins AFTER DELETE ON imagesync.pin
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_pins();
CREATE TRIGGER shown_of_changed_pins AFTER UPDATE ON imagesync.pin
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_pins();
