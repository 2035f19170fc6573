-- New images cost what they change. Whom nobody lent images to by a number takes the best of the new ones, without a look
-- at any other image; only where somebody lent some before are all numbers tried again. In a first load that is nobody.
-- Joins are by an index, as in shown_image.sql; no two lists in memory are joined, which would be every row with every.

-- The order of offers is that of refresh_shown_images: step, place, is it a parent, the lender.
CREATE FUNCTION imagesync.show_new_images() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = imagesync, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    least_height integer := imagesync.listed_height();
    shown_before bigint[];
    listed_before bigint[];
    parents bigint[];
    lenders bigint[];
    numbers text[];
    best_images bigint[];
    ranks integer[];
BEGIN
    IF NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    END IF;
    PERFORM imagesync.lock_shown_images();
    WITH new AS MATERIALIZED (
        SELECT p.id, p.sku, p.kind = 'parent' AS is_parent, p.parent_id, p.left_erp_at IS NOT NULL AS has_left,
               n.has_front, n.height, n.best[2] AS image,
               -- Of variants BE comes first, then the best kind of picture.
               CASE WHEN p.variant_code = 'BE' THEN 0 ELSE 10 END + n.best[1] AS rank
          FROM (SELECT product_id, bool_or(is_front) AS has_front, min(height) FILTER (WHERE is_primary) AS height,
                       min(ARRAY[imagesync.rank_of_lent(image_type, is_primary, is_front), id]) AS best
                  FROM changed GROUP BY product_id) AS n
          JOIN imagesync.product p ON p.id = n.product_id
    ), named AS MATERIALIZED (
        SELECT n.id AS lender, n.is_parent, n.has_left, n.has_front, n.height,
               p.id, p.sku, p.left_erp_at IS NULL AS in_erp
          FROM new n JOIN imagesync.product p ON p.sku = n.sku
         WHERE n.sku <> ''
    ), offered AS (
        SELECT id, sku, in_erp, lender, is_parent, has_left, has_front, height, 2 AS step, 0 AS step_own_first FROM named
         UNION ALL
        SELECT p.id, p.sku, p.left_erp_at IS NULL, n.lender, n.is_parent, n.has_left, n.has_front, n.height, 1, 1
          FROM named n JOIN imagesync.product p ON p.parent_id = n.id
         WHERE p.kind = 'variant'
         UNION ALL
        SELECT p.id, p.sku, p.left_erp_at IS NULL, n.id, n.is_parent, n.has_left, n.has_front, n.height,
               CASE WHEN p.parent_id IS NULL THEN 1 ELSE 3 END, 3
          FROM new n JOIN imagesync.product p ON p.base_sku = n.sku
         WHERE p.kind = 'variant' AND n.sku <> ''
    ), best AS MATERIALIZED (
        SELECT o.id, o.sku, o.in_erp, k.product_id IS NOT NULL AS is_known,
               k.owner_id IS NOT NULL AND k.lent_image_id IS NULL AS shown_before,
               bool_or(lender = id) AS is_new, bool_or(has_front) FILTER (WHERE lender = id) AS has_front,
               min(height) FILTER (WHERE lender = id) AS height,
               min(ARRAY[step, (in_erp OR lender <> id)::integer, is_parent::integer, lender]) AS first,
               min(ARRAY[step_own_first, (in_erp OR lender <> id)::integer, is_parent::integer, lender]) AS own_first
          FROM offered o LEFT JOIN imagesync.shown_image k ON k.product_id = o.id
         WHERE NOT o.has_left OR o.lender = o.id
         GROUP BY o.id, o.sku, o.in_erp, k.product_id, k.owner_id, k.lent_image_id
    ), added AS (
        INSERT INTO imagesync.shown_image (product_id, owner_id, own_first_id, changed_at)
        SELECT id, first[4], own_first[4], now() FROM best WHERE NOT is_known
    ), taken AS (
        UPDATE imagesync.shown_image s
           SET owner_id = b.first[4], own_first_id = b.own_first[4], lent_image_id = NULL, changed_at = now()
          FROM best b WHERE s.product_id = b.id AND b.is_known AND NOT b.shown_before
    ), unlisted AS (
        DELETE FROM imagesync.listed_product l USING best b
         WHERE l.product_id = b.id AND l.list = 'without_image' AND NOT b.shown_before
    ), listed AS (
        INSERT INTO imagesync.listed_product (list, sku, product_id)
        SELECT l.list, b.sku, b.id
          FROM best b
         CROSS JOIN LATERAL (VALUES ('without_front', NOT has_front), ('low_resolution', height < least_height))
                         AS l (list, is_in_it)
         WHERE b.is_new AND b.in_erp AND NOT b.shown_before AND l.is_in_it
        ON CONFLICT DO NOTHING
    )
    SELECT b.before, array_cat(b.new_before, n.without_number), n.parents, n.lenders, n.numbers, n.images, n.ranks
      INTO shown_before, listed_before, parents, lenders, numbers, best_images, ranks
      FROM (SELECT array_agg(id) FILTER (WHERE best.shown_before) AS before,
                   array_agg(id) FILTER (WHERE best.shown_before AND is_new) AS new_before FROM best) AS b
     CROSS JOIN (
        SELECT array_agg(id) FILTER (WHERE sku = '') AS without_number, array_agg(parent_id) FILTER (WHERE lends) AS parents,
               array_agg(id) FILTER (WHERE lends) AS lenders, array_agg(sku) FILTER (WHERE lends) AS numbers,
               array_agg(image) FILTER (WHERE lends) AS images, array_agg(rank) FILTER (WHERE lends) AS ranks
          FROM (SELECT *, parent_id IS NOT NULL AND NOT has_left AS lends FROM new) AS every
     ) AS n;
    IF shown_before IS NOT NULL THEN
        PERFORM imagesync.refresh_shown_images(shown_before, '{}');
    END IF;
    IF listed_before IS NOT NULL THEN
        PERFORM imagesync.refresh_lists(listed_before);
    END IF;
    IF parents IS NOT NULL THEN
        PERFORM imagesync.lend_images(parents, lenders, numbers, best_images, ranks);
    END IF;
    RETURN NULL;
END $$;

-- The images of variants lend themselves to parents that no number brings any, where they are better than what a parent
-- has.
DROP FUNCTION imagesync.lend_images(bigint[]);
CREATE FUNCTION imagesync.lend_images(
    parents bigint[], lenders bigint[], numbers text[], images bigint[], ranks integer[]
) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    WITH without_number AS MATERIALIZED (
        SELECT DISTINCT ON (n.parent_id) n.*, k.lent_image_id
          FROM unnest(parents, lenders, numbers, images, ranks) AS n (parent_id, lender_id, sku, id, rank)
          LEFT JOIN imagesync.shown_image k ON k.product_id = n.parent_id
         WHERE k.owner_id IS NULL OR k.lent_image_id IS NOT NULL
         ORDER BY n.parent_id, n.rank, n.sku, n.id
    ), lent AS (
        INSERT INTO imagesync.shown_image (product_id, owner_id, own_first_id, lent_image_id, changed_at)
        SELECT new.parent_id, new.lender_id, new.lender_id, new.id, now()
          FROM without_number AS new
          LEFT JOIN imagesync.product_image known ON known.id = new.lent_image_id
          LEFT JOIN imagesync.product its ON its.id = known.product_id
         WHERE known.id IS NULL
            OR (new.rank, new.sku, new.id)
               < (CASE WHEN its.variant_code = 'BE' THEN 0 ELSE 10 END
                  + imagesync.rank_of_lent(known.image_type, known.is_primary, known.is_front), its.sku, known.id)
        ON CONFLICT (product_id) DO UPDATE
           SET owner_id = EXCLUDED.owner_id, own_first_id = EXCLUDED.own_first_id,
               lent_image_id = EXCLUDED.lent_image_id, changed_at = EXCLUDED.changed_at
        RETURNING product_id
    )
    DELETE FROM imagesync.listed_product l USING lent WHERE l.product_id = lent.product_id AND l.list = 'without_image';
END $$;

-- As it was for images that are changed or gone, but that an update no longer compares every row with every other one.
CREATE OR REPLACE FUNCTION imagesync.show_images() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = imagesync, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    touched bigint[];
    numbers text[];
    asked bigint[];
    parents bigint[];
BEGIN
    IF TG_OP = 'DELETE' THEN
        SELECT array_agg(p.id), array_agg(p.sku) INTO touched, numbers
          FROM (SELECT DISTINCT product_id FROM changed) AS c JOIN imagesync.product p ON p.id = c.product_id;
        IF touched IS NOT NULL THEN
            PERFORM imagesync.lock_shown_images();
            asked := imagesync.may_show_images_of(touched, numbers);
            PERFORM imagesync.refresh_shown_images(asked, '{}');
            PERFORM imagesync.refresh_lists(asked);
        END IF;
        RETURN NULL;
    END IF;
    SELECT array_agg(p.id), array_agg(p.sku) INTO touched, numbers
      FROM (SELECT product_id AS id FROM (SELECT id, product_id FROM changed EXCEPT SELECT id, product_id FROM before) AS come
             UNION
            SELECT product_id FROM (SELECT id, product_id FROM before EXCEPT SELECT id, product_id FROM changed) AS gone
           ) AS moved
      JOIN imagesync.product p USING (id);
    IF touched IS NOT NULL THEN
        PERFORM imagesync.lock_shown_images();
        asked := imagesync.may_show_images_of(touched, numbers);
        PERFORM imagesync.refresh_shown_images(asked, '{}');
        PERFORM imagesync.refresh_lists(asked);
    END IF;
    SELECT array_agg(DISTINCT p.id), array_agg(DISTINCT p.parent_id) FILTER (WHERE lends AND p.parent_id IS NOT NULL)
      INTO touched, parents
      FROM (SELECT product_id AS id, false AS lends
              FROM (SELECT id, product_id, is_primary, is_front, image_type, height FROM changed
                    EXCEPT
                    SELECT id, product_id, is_primary, is_front, image_type, height FROM before) AS listed
             UNION ALL
            -- Only which of a variant's images stands for its parent may be another one.
            SELECT product_id, true
              FROM (SELECT id, product_id, is_primary, is_front, image_type FROM changed
                    EXCEPT
                    SELECT id, product_id, is_primary, is_front, image_type FROM before) AS lending
           ) AS other
      JOIN imagesync.product p USING (id);
    IF touched IS NOT NULL THEN
        PERFORM imagesync.lock_shown_images();
        IF parents IS NOT NULL THEN
            PERFORM imagesync.refresh_shown_images(parents, '{}');
        END IF;
        PERFORM imagesync.refresh_lists(touched);
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER shown_of_new_images ON imagesync.product_image;
CREATE TRIGGER shown_of_new_images AFTER INSERT ON imagesync.product_image
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_new_images();
DROP FUNCTION imagesync.may_now_show_images_of(bigint[], text[]);
DROP FUNCTION imagesync.unlist(bigint[]);

-- Nothing is looked for by these, so nobody need know how they are distributed: it is most of the time of an ANALYZE.
ALTER TABLE imagesync.product_image
    ALTER COLUMN image_url SET STATISTICS 0, ALTER COLUMN thumbnail_url SET STATISTICS 0,
    ALTER COLUMN alt_text SET STATISTICS 0, ALTER COLUMN metadata SET STATISTICS 0,
    ALTER COLUMN fingerprint SET STATISTICS 0, ALTER COLUMN original_url SET STATISTICS 0,
    ALTER COLUMN matched_by SET STATISTICS 0, ALTER COLUMN chosen_because SET STATISTICS 0;
