with turned as (
  select r.* from product_pricelist_item r
    -- Odoo compares whole seconds: a rule begins with the first whole one and holds through its last
    cross join lateral (values (date_trunc('second', r.date_start + interval '999999 microseconds')),
                               (date_trunc('second', r.date_end) + interval '1 second')) turn(at)
   where turn.at > $1::timestamptz at time zone 'utc' and turn.at <= $2::timestamptz at time zone 'utc'
)
select r.product_id from turned r where r.applied_on = '0_product_variant'
union
select p.id from turned r join product_product p on p.product_tmpl_id = r.product_tmpl_id where r.applied_on = '1_product'
union
select p.id from turned r
  join product_category a on a.id = r.categ_id
  join product_category c on c.parent_path like a.parent_path || '%'
  join product_template t on t.categ_id = c.id
  join product_product p on p.product_tmpl_id = t.id
 where r.applied_on = '2_product_category'
union
select p.id from product_product p
 where exists (select from turned r where r.applied_on not in ('0_product_variant', '1_product', '2_product_category'))
